"""What a visitor's browser and Stripe send. Everything carries the run's name, so that the books find it again."""

from __future__ import annotations

import random
import time
import tomllib
from decimal import ROUND_HALF_EVEN, Decimal
from importlib import resources
from typing import Any

import msgspec

from relo_ingest._fast import signature, ulid

CLIENT_ID, SLUG = 1, "demo"
REGISTRY = tomllib.loads((resources.files("relo_ingest") / "relo.example.toml").read_text())
"""The registry of a fresh installation: what the product under load is expected to have."""
SECRET = REGISTRY["clients"][0]["stripe_secrets"][0].encode()
FIRST_PAYMENT_BASIS_POINTS = {
    rule["partner"]: rule["basis_points"] for rule in REGISTRY["commission_rules"] if "first" in rule["applies_to"]
}
"""By partner: what a first payment earns, in 1/100 of a per cent."""
PARTNERS = sorted(FIRST_PAYMENT_BASIS_POINTS)

MINOR_DIGITS = {"usd": 2, "eur": 2, "mxn": 2, "jpy": 0}
"""https://docs.stripe.com/currencies; written out here, because the books must not ask the product how to count."""
PAGES = ("/", "/products/linen-shirt?variant=sand&size=m", "/products/canvas-bag", "/cart", "/checkout/shipping?step=2")
EVENTS = ("page", "page", "page", "view_product", "add_to_cart")


class Sale(msgspec.Struct, frozen=True):
    """A payment, and what it earns whom. Amounts in whole units."""

    conversion_key: str
    currency: str
    amount: Decimal
    partner: str
    commission: Decimal


class Webhook(msgspec.Struct):
    event_id: str
    body: bytes
    sale: Sale


def link(run: str, partner: str, key: str) -> str:
    """The path of a partner's link; ``key`` names this click."""
    return f"/r?ref={partner}&s1={run}&s2={key}&fbclid=IwAR0{ulid.new()}"


def page_view(run: str, device_id: str, click_id: str) -> dict[str, Any]:
    page = random.choice(PAGES)
    return {
        "client_id": CLIENT_ID,
        "event": random.choice(EVENTS),
        "event_id": ulid.new(),
        "cid": click_id,
        "did": device_id,
        "ts": time.time_ns() // 1_000_000,
        "url": f"https://shop.example.com{page}",
        "referrer": "https://shop.example.com/",
        "title": "Demo shop",
        "lang": "en-US",
        "screen": "1440x900",
        "props": {"load": run},
    }


def purchase(run: str, partner: str, click_id: str) -> Webhook:
    """Stripe's report of a visitor's first payment, with the click in the session's metadata."""
    unique = f"load_{run}_{ulid.new()}"
    currency = random.choice(list(MINOR_DIGITS))
    minor = random.randrange(1, 50_000)
    session = {
        "id": f"cs_{unique}",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "amount_total": minor,
        "currency": currency,
        "payment_intent": f"pi_{unique}",
        "invoice": None,
        "customer": f"cus_{unique}",
        "customer_details": {"email": f"{unique.lower()}@example.com"},
        "metadata": {"relo_click_id": click_id},
    }
    event = {
        "id": f"evt_{unique}",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": int(time.time()),
        "livemode": True,
        "type": "checkout.session.completed",
        "data": {"object": session},
    }
    amount, commission = earned(minor, currency, FIRST_PAYMENT_BASIS_POINTS[partner])
    sale = Sale(session["payment_intent"], currency.upper(), amount, partner, commission)
    return Webhook(event["id"], msgspec.json.encode(event), sale)


def sign(body: bytes) -> str:
    return signature.sign(body, SECRET, int(time.time()))


def earned(minor: int, currency: str, basis_points: int) -> tuple[Decimal, Decimal]:
    """The payment and its commission in whole units; the commission half-even to the minor unit.

    >>> earned(4990, "usd", 1500)
    (Decimal('49.90'), Decimal('7.48'))
    """
    digits = MINOR_DIGITS[currency]
    amount = Decimal(minor).scaleb(-digits)
    share = amount * basis_points / 10_000
    return amount, share.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
