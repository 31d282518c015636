"""``relo stripe setup``: a webhook endpoint in Stripe that sends what is stored here; its secret in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from relo_ingest.clickhouse.client import connected
from relo_ingest.errors import ConfigError, ReloError
from relo_ingest.registry import apply, stripe_secrets
from relo_ingest.registry.secrets import keyring, last_four
from relo_ingest.settings import Settings
from relo_ingest.stripe_tools.api import Api, StripeRefuses
from relo_ingest.stripe_tools.kinds import SUPPORTED

PATH = "/postback/stripe"


class EndpointExists(ReloError):
    """Stripe has an endpoint of this address; its secret is told only once, by the dashboard."""


class NotKept(ReloError):
    """The endpoint was created, but its secret could not be stored."""


def public_address(url: str, slug: str) -> str:
    """The client's address in full, from that of the ingest or from itself. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and parts.hostname and not (parts.query or parts.fragment or parts.username)
    except ValueError:
        usable = None
    if not usable:
        raise ConfigError("--url: expected the public address of the ingest, https://host, without a query")
    base, found, given = url.rstrip("/").partition(PATH)
    if found and given != f"/{slug}":
        raise ConfigError(f"--url: {PATH}{given} is not the address of client {slug}; give https://host alone")
    return f"{base}{PATH}/{slug}"


def set_up(settings: Settings, slug: str, url: str, api: Api) -> Iterator[str]:
    """Create the endpoint and store its secret, for the mode of the API key. Yields what was done.

    Whatever can fail here is tried before Stripe is asked for anything. Raises EndpointExists, NotKept, StripeRefuses.
    """
    address = public_address(url, slug)
    keys = keyring(settings)
    with connected(settings) as clickhouse:
        stripe_secrets.client_id_of(apply.current(clickhouse), slug)
        for there in api.endpoints():
            if str(there.url).rstrip("/") == address:
                raise EndpointExists(_what_to_do(there, slug))
        endpoint = api.create_endpoint(address, SUPPORTED, slug)
        mode = "live" if endpoint.livemode else "test"
        try:
            now = apply.current(clickhouse)
            todo = stripe_secrets.add(now, keys, slug, endpoint.secret, "live" if endpoint.livemode else "test")
            apply.write(clickhouse, todo)
        except Exception as error:
            raise NotKept(_taken_back(api, endpoint.id, type(error).__name__)) from None
        yield f"endpoint {endpoint.id} created in Stripe's {mode} mode: {address}"
        yield f"it sends {len(SUPPORTED)} types of events: {', '.join(SUPPORTED)}"
        yield f"its signing secret, ending {last_four(endpoint.secret)}, is in force for {mode} events within 5 s"


def _what_to_do(there: Any, slug: str) -> str:
    missing = [] if "*" in there.enabled_events else [kind for kind in SUPPORTED if kind not in there.enabled_events]
    events = f" add the events {', '.join(missing)} to it," if missing else ""
    return (
        f"Stripe has an endpoint with this URL already ({there.id}, {there.status}): in the dashboard{events} reveal "
        "its signing secret, and put that into force with "
        f"`relo secret add --client {slug} --{'live' if there.livemode else 'test'}`; "
        "or delete the endpoint there and run this again"
    )


def _taken_back(api: Api, endpoint_id: str, why: str) -> str:
    """So that no endpoint sends what nobody can verify."""
    try:
        api.delete_endpoint(endpoint_id)
    except StripeRefuses:
        return f"the secret could not be stored ({why}); delete the endpoint {endpoint_id} in Stripe's dashboard"
    return f"the secret could not be stored ({why}), so the endpoint was deleted again; see `relo doctor`, then retry"
