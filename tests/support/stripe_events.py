"""Stripe's events, as a test needs them."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from relo_ingest._fast import signature, ulid
from support.processes import SECRET


def checkout_completed(**session: Any) -> dict[str, Any]:
    """A paid ``checkout.session.completed`` of 100.00 USD; ``session`` changes the session, ``created`` the event."""
    unique = ulid.new()
    created = session.pop("created", int(time.time()))
    livemode = session.pop("livemode", True)
    content = {
        "id": f"cs_{unique}",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "amount_total": 10_000,
        "currency": "usd",
        "payment_intent": f"pi_{unique}",
        "invoice": None,
        "customer": f"cus_{unique}",
        "customer_details": {"email": None},
        "metadata": {},
    }
    return {
        "id": f"evt_{unique}",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": created,
        "livemode": livemode,
        "type": "checkout.session.completed",
        "data": {"object": content | session},
    }


def signed(event: Any, secret: bytes = SECRET, at: int | None = None) -> dict[str, Any]:
    """Body and headers of the webhook, as keyword arguments for httpx."""
    body = event if isinstance(event, bytes) else msgspec.json.encode(event)
    timestamp = int(time.time()) if at is None else at
    header = signature.sign(body, secret, timestamp)
    return {"content": body, "headers": {"Stripe-Signature": header, "Content-Type": "application/json"}}
