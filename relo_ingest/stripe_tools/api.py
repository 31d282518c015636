"""Stripe's own library: its key, its errors as one line, patience where it asks for it.

The key comes from STRIPE_API_KEY. STRIPE_API_BASE, when set, is used instead of Stripe's address (tests, a proxy).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from relo_ingest.errors import ConfigError, ReloError

T = TypeVar("T")

TRIES = 6
PAGE = 100
"""The most that one page of a listing holds."""


class LibraryMissing(ConfigError):
    """The extra ``stripe`` is not installed."""


class StripeRefuses(ReloError):
    """Stripe did not do what it was asked."""


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


class Api:
    """The calls that are needed, each an exact one. Raises ConfigError before the first call, StripeRefuses after."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        # With it, or at lower levels of its logger, whole answers go to stderr, and signing secrets with them.
        os.environ.pop("STRIPE_LOG", None)
        try:
            import stripe
        except ImportError:
            raise LibraryMissing(
                "Stripe's library is not installed: pip install 'relo_ingest[stripe]', or 'stripe>=13,<17'"
            ) from None
        key = os.environ.get("STRIPE_API_KEY", "").strip()
        if not re.fullmatch(r"[rs]k_[!-~]+", key):
            raise ConfigError(
                "STRIPE_API_KEY: expected a secret or restricted API key (sk_… or rk_…) in the environment"
                if key
                else "STRIPE_API_KEY is not set; Stripe's dashboard has API keys under Developers"
            )
        base = os.environ.get("STRIPE_API_BASE", "").strip()
        if base:
            if not re.fullmatch(r"https?://[^/\s?#@]+", base.rstrip("/")):
                raise ConfigError("STRIPE_API_BASE: expected http(s)://host[:port]")
            stripe.api_base = base.rstrip("/")
        stripe.api_key = key
        stripe.max_network_retries = 2
        stripe.enable_telemetry = False
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self._stripe: Any = stripe  # of any version that the extra allows
        self._sleep = sleep

    def endpoints(self) -> Iterator[Any]:
        """The webhook endpoints of the account."""
        page = self._call("list the webhook endpoints", lambda: self._stripe.WebhookEndpoint.list(limit=PAGE))
        while True:
            yield from page.data
            if not page.has_more:
                return
            page = self._call("list the webhook endpoints", page.next_page)

    def create_endpoint(self, url: str, enabled_events: tuple[str, ...], slug: str) -> Any:
        return self._call(
            "create the webhook endpoint",
            lambda: self._stripe.WebhookEndpoint.create(
                url=url,
                enabled_events=list(enabled_events),
                description=f"relo_ingest: payments of {slug}",
                metadata={"relo_client": slug},
            ),
        )

    def delete_endpoint(self, endpoint_id: str) -> None:
        self._call("delete the webhook endpoint", lambda: self._stripe.WebhookEndpoint.delete(endpoint_id))

    def event_pages(self, types: tuple[str, ...], since_s: int) -> Iterator[list[bytes]]:
        """Events created since then, newest first, each as the bytes that Stripe sent."""
        page = self._call(
            "list the events",
            lambda: self._stripe.Event.list(limit=PAGE, types=list(types), created={"gte": since_s}),
        )
        while True:
            # The body itself: what the library makes of it would have to be written again, perhaps in other words.
            yield [bytes(raw) for raw in msgspec.json.decode(page.last_response.body, type=_Page).data]
            if not page.has_more:
                return
            page = self._call("list the events", page.next_page)

    def _call(self, what: str, function: Callable[[], T]) -> T:
        """Tries again when Stripe limits the rate."""
        stripe = self._stripe
        for attempt in range(TRIES):
            try:
                return function()
            except stripe.RateLimitError as error:
                if attempt == TRIES - 1:
                    raise StripeRefuses(f"Stripe limits the rate and did not {what}; try again later") from None
                self._sleep(_retry_after(error.headers, attempt))
            except stripe.AuthenticationError:
                raise StripeRefuses(
                    "Stripe refuses the key in STRIPE_API_KEY: it is wrong, expired or revoked"
                ) from None
            except stripe.PermissionError:
                raise StripeRefuses(
                    f"the key in STRIPE_API_KEY may not {what}; give it the permission, or use another"
                ) from None
            except stripe.APIConnectionError:
                raise StripeRefuses(f"Stripe does not answer at {stripe.api_base}; check the network") from None
            except stripe.InvalidRequestError as error:
                raise StripeRefuses(f"Stripe did not {what}: {_harmless(error.user_message)}") from None
            except stripe.StripeError as error:
                raise StripeRefuses(f"Stripe did not {what}: it answered {error.http_status}") from None
        raise AssertionError("the last attempt returns or raises")


def _retry_after(headers: Any, attempt: int) -> float:
    text = str((headers or {}).get("retry-after", ""))
    return min(float(text), 30.0) if re.fullmatch(r"[0-9]{1,3}", text) else 0.5 * 2.0**attempt


def _harmless(message: str | None) -> str:
    """One line of Stripe's words without any key or secret."""
    line = (message or "no reason given").splitlines()[0][:200]
    return re.sub(r"\b(sk|rk|pk|whsec)_\S+", r"\1_…", line)
