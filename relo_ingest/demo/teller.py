"""Tells the story to the service: links with signed past times, beacons, signed webhooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3

from relo_ingest._fast import digest, signature, ulid
from relo_ingest.demo.people import DAY, HOUR, STORY, Sale, Visitor
from relo_ingest.errors import ReloError

SECRET = b"whsec_demo_for_local_use_only"
CLIENT_ID, SLUG = 1, "demo"
API_VERSION = "2025-03-31.basil"
BROWSERS = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
)


class DemoFailed(ReloError):
    """The service did not do what the story needs."""


class Told(msgspec.Struct):
    """What came of the story so far: clicks, and live payments by conversion key, with whose they are."""

    clicks: list[str] = []
    names: dict[str, str] = {}
    lines: int = 0
    """How many lines of the ledger there must be in the end."""


class Storyteller:
    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._http = urllib3.PoolManager(timeout=10.0, retries=False)
        self._run = ulid.new().lower()
        self._now = int(time.time()) * 1000  # Stripe's times are in whole seconds
        self.told = Told()

    def tell(self, index: int, visitor: Visitor) -> None:
        """One visitor's story."""
        sold_at = self._now - visitor.days_ago * DAY - (len(STORY) - index) * 60_000
        device_id, browser = ulid.new(), BROWSERS[index % len(BROWSERS)]
        click_id = ""
        for partner, before in visitor.clicks:
            clicked_at = sold_at - before
            click_id = self._click(partner, clicked_at, browser)
            self._pages(visitor, device_id, click_id, clicked_at, browser)
        if not visitor.clicks:
            self._pages(visitor, device_id, ulid.new_at(sold_at), sold_at - HOUR, browser)
        if visitor.sale:
            self._pay(visitor.name, visitor.sale, sold_at, click_id)

    def _address(self, sale: Sale) -> str | None:
        """An address of this run alone, or the devices of an earlier run would be known by it too."""
        return sale.email.replace("@", f"+{self._run}@") or None

    def _request(self, method: str, path: str, expected: int, **options: Any) -> urllib3.BaseHTTPResponse:
        try:
            response = self._http.request(method, self._base_url + path, redirect=False, **options)
        except urllib3.exceptions.HTTPError:
            raise DemoFailed(f"nothing answers at {self._base_url}; start it with `relo up`") from None
        if response.status != expected:
            raise DemoFailed(
                f"{method} {path.partition('?')[0]} was answered {response.status}: {response.data.decode()[:200]}"
            )
        return response

    def _click(self, partner: str, at: int, browser: str) -> str:
        query = urlencode({"ref": partner, "s1": "newsletter", "ts": at})
        signed = signature.sign(query.encode(), SECRET, int(time.time()))
        response = self._request("GET", f"/r?{query}", 302, headers={"Relo-Signature": signed, "User-Agent": browser})
        click_id = response.headers["Location"].rpartition("click_id=")[2]
        self.told.clicks.append(click_id)
        return click_id

    def _pages(self, visitor: Visitor, device_id: str, click_id: str, since: int, browser: str) -> None:
        beacons = []
        for step, name in enumerate(visitor.pages):
            beacon = {
                "client_id": CLIENT_ID, "event": name, "event_id": ulid.new_at(since + step * 45_000), "cid": click_id,
                "did": device_id, "ts": since + step * 45_000, "url": f"{self._base_url}/demo?step={step}",
                "title": "Demo shop", "lang": "en", "screen": "1440x900",
            }  # fmt: skip
            if name == "identify" and visitor.sale:
                beacon["email_hash"] = digest.email_hash(self._address(visitor.sale) or "")
            if name == "add_to_cart":
                beacon |= {"value": "12.50", "currency": "USD", "products": [{"id": "coffee", "quantity": 1}]}
            beacons.append(beacon)
        self._request("POST", "/e", 204, body=msgspec.json.encode(beacons),
                      headers={"Content-Type": "application/json", "User-Agent": browser})  # fmt: skip

    def _pay(self, name: str, sale: Sale, at: int, click_id: str) -> None:
        unique = ulid.new()
        intent, customer, subscription = f"pi_demo_{unique}", f"cus_demo_{unique}", f"sub_demo_{unique}"
        invoice = f"in_demo_{unique}" if sale.renews_after_days else None
        code = {"promotion_code": {"id": f"promo_demo_{unique}", "code": sale.promo_code}}
        session = {
            "id": f"cs_demo_{unique}", "object": "checkout.session", "payment_status": "paid",
            "mode": "subscription" if invoice else "payment", "amount_total": sale.amount, "currency": sale.currency,
            "payment_intent": None if invoice else intent, "invoice": invoice,
            "subscription": subscription if invoice else None,
            "customer": customer, "customer_details": {"email": self._address(sale)},
            "client_reference_id": click_id if sale.click_in == "client_reference_id" else None,
            "metadata": {"relo_click_id": click_id} if sale.click_in == "metadata" else {},
            "discounts": [code] if sale.promo_code else [],
        }  # fmt: skip
        for _ in range(sale.delivered):
            self._webhook("checkout.session.completed", session, at, unique, live=sale.live)
        if sale.live:
            self._expect(name, invoice or intent, lines=sale.earns + bool(sale.refund))
        if sale.refund:
            refund = {
                "id": f"re_demo_{unique}", "object": "refund", "amount": sale.refund, "currency": sale.currency,
                "charge": f"ch_demo_{unique}", "payment_intent": intent, "status": "succeeded",
                "created": (at + DAY) // 1000,
            }  # fmt: skip
            self._webhook("refund.created", refund, at + DAY, f"r{unique}")
        if invoice:
            renewed_at = at + sale.renews_after_days * DAY
            renewal = {
                "id": f"{invoice}2", "object": "invoice", "billing_reason": "subscription_cycle",
                "amount_paid": sale.amount, "currency": sale.currency, "customer": customer, "customer_email": None,
                "parent": {"type": "subscription_details", "subscription_details": {"subscription": subscription}},
            }  # fmt: skip
            self._webhook("invoice.paid", renewal, renewed_at, f"i{unique}")
            self._expect(f"{name}, renewal", f"{invoice}2", lines=1)

    def _expect(self, name: str, key: str, *, lines: int) -> None:
        self.told.names[key] = name
        self.told.lines += lines

    def _webhook(self, kind: str, content: dict[str, Any], at: int, unique: str, *, live: bool = True) -> None:
        body = msgspec.json.encode(
            {
                "id": f"evt_demo_{unique}", "object": "event", "api_version": API_VERSION, "created": at // 1000,
                "livemode": live, "type": kind, "data": {"object": content},
            }
        )  # fmt: skip
        signed = signature.sign(body, SECRET, int(time.time()))
        self._request("POST", f"/postback/stripe/{SLUG}", 200, body=body,
                      headers={"Content-Type": "application/json", "Stripe-Signature": signed})  # fmt: skip


def sentence(visitor: Visitor) -> str:
    """What a visitor does, in one line."""
    return "".join(_words(visitor))


def _words(visitor: Visitor) -> Iterator[str]:
    yield f"{visitor.name}, {_many(visitor.days_ago, 'day')} ago: " if visitor.days_ago else f"{visitor.name}, today: "
    yield ", then ".join(f"clicks {partner}'s link" for partner, _ in visitor.clicks) or "comes without a link"
    yield f", sees {_many(len(visitor.pages), 'page')}"
    if visitor.sale:
        yield f", pays {Decimal(visitor.sale.amount) / 100:.2f} {visitor.sale.currency.upper()}"
    if visitor.note:
        yield f" ({visitor.note})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
