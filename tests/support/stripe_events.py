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


# Builders of every kind that is stored. Keyword arguments change the object; ``created``, ``livemode``, ``account`` and
# ``event_id`` the envelope. ``old`` gives the shape of before 2025-03-31.

OLD_VERSION, NEW_VERSION = "2024-06-20", "2026-06-24.dahlia"


def stripe_event(
    type: str,
    content: dict[str, Any],
    *,
    old: bool = False,
    created: int | None = None,
    livemode: bool = True,
    event_id: str = "",
    account: str = "",
    previous: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An envelope, with its keys in Stripe's order."""
    data = {"object": content} | ({"previous_attributes": previous} if previous is not None else {})
    return {
        "id": event_id or f"evt_{ulid.new()}",
        "object": "event",
        **({"account": account} if account else {}),
        "api_version": OLD_VERSION if old else NEW_VERSION,
        "created": int(time.time()) if created is None else created,
        "data": data,
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
    }


ENVELOPE = ("created", "livemode", "event_id", "account", "previous")


def _built(type: str, content: dict[str, Any], changes: dict[str, Any], *, old: bool) -> dict[str, Any]:
    envelope = {k: changes.pop(k) for k in ENVELOPE if k in changes}
    content = content | {"livemode": envelope.get("livemode", True)} | changes
    return stripe_event(type, content, old=old, **envelope)


def session_event(happened: str = "completed", *, old: bool = False, **changes: Any) -> dict[str, Any]:
    """``checkout.session.{happened}``: completed, async_payment_succeeded, async_payment_failed."""
    unique = ulid.new()
    content = {
        "id": f"cs_{unique}",
        "object": "checkout.session",
        "amount_subtotal": 10_000,
        "amount_total": 10_000,
        "client_reference_id": None,
        "currency": "usd",
        "customer": f"cus_{unique}",
        "customer_details": {"email": None, "name": None, "tax_exempt": "none", "tax_ids": []},
        "customer_email": None,
        "invoice": None,
        "metadata": {},
        "mode": "payment",
        "payment_intent": f"pi_{unique}",
        "payment_status": "unpaid" if happened == "async_payment_failed" else "paid",
        "status": "complete",
        "subscription": None,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    }
    if not old:
        content |= {"adaptive_pricing": {"enabled": True}, "discounts": [], "presentment_details": None}
    return _built(f"checkout.session.{happened}", content, changes, old=old)


def invoice_paid(
    reason: str = "subscription_cycle",
    *,
    old: bool = False,
    subscription: str = "",
    payment_intent: str = "",
    charge: str = "",
    subscription_metadata: dict[str, str] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """``invoice.paid``. A new invoice does not name what paid it: see ``invoice_payment_paid``."""
    unique = ulid.new()
    content: dict[str, Any] = {
        "id": f"in_{unique}",
        "object": "invoice",
        "amount_due": changes.get("amount_paid", 2_000),
        "amount_paid": 2_000,
        "billing_reason": reason,
        "currency": "usd",
        "customer": f"cus_{unique}",
        "customer_email": None,
        "discounts": [],
        "lines": {"object": "list", "data": [], "has_more": False},
        "metadata": {},
        "status": "paid",
    }
    metadata = subscription_metadata or {}
    if old:
        content |= {
            "charge": charge or None,
            "payment_intent": payment_intent or None,
            "subscription": subscription or None,
            "subscription_details": {"metadata": metadata} if subscription else {"metadata": None},
            "paid": True,
            "tax": None,
        }
    elif subscription:
        details = {"metadata": metadata, "subscription": subscription}
        content["parent"] = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    else:
        content["parent"] = None
    return _built("invoice.paid", content, changes, old=old)


def invoice_payment_paid(invoice: str, payment_intent: str = "", *, charge: str = "", **changes: Any) -> dict[str, Any]:
    """``invoice_payment.paid``: exists only in the new shape."""
    payment = {"type": "payment_intent", "payment_intent": payment_intent}
    if charge:
        payment = {"type": "charge", "charge": charge}
    content = {
        "id": f"inpay_{ulid.new()}",
        "object": "invoice_payment",
        "amount_paid": 2_000,
        "amount_requested": 2_000,
        "currency": "usd",
        "invoice": invoice,
        "is_default": True,
        "payment": payment,
        "status": "paid",
    }
    return _built("invoice_payment.paid", content, changes, old=False)


def charge_refunded(*, old: bool = False, invoice: str | None = None, **changes: Any) -> dict[str, Any]:
    """``charge.refunded``: ``amount_refunded`` is all that was refunded of the charge so far."""
    unique = ulid.new()
    content: dict[str, Any] = {
        "id": f"ch_{unique}",
        "object": "charge",
        "amount": 10_000,
        "amount_captured": 10_000,
        "amount_refunded": 10_000,
        "currency": "usd",
        "customer": None,
        "metadata": {},
        "payment_intent": f"pi_{unique}",
        "refunded": True,
        "status": "succeeded",
    }
    if old:
        content["invoice"] = invoice
    return _built("charge.refunded", content, changes, old=old)


def refund_event(happened: str = "created", *, old: bool = False, **changes: Any) -> dict[str, Any]:
    """``refund.{happened}``: created, updated, failed. A refund has no ``livemode`` of its own."""
    unique = ulid.new()
    content = {
        "id": f"re_{unique}",
        "object": "refund",
        "amount": 10_000,
        "charge": f"ch_{unique}",
        "created": changes.pop("made", changes.get("created", int(time.time()))),
        "currency": "usd",
        "metadata": {},
        "payment_intent": f"pi_{unique}",
        "reason": None,
        "status": "failed" if happened == "failed" else "succeeded",
    }
    built = _built(f"refund.{happened}", content, changes, old=old)
    del built["data"]["object"]["livemode"]
    return built


def dispute_event(happened: str = "created", *, old: bool = False, **changes: Any) -> dict[str, Any]:
    """``charge.dispute.{happened}``: created, funds_withdrawn, funds_reinstated, closed."""
    unique = ulid.new()
    content = {
        "id": f"dp_{unique}",
        "object": "dispute",
        "amount": 10_000,
        "balance_transactions": [],
        "charge": f"ch_{unique}",
        "currency": "usd",
        "evidence_details": {"has_evidence": False},
        "payment_intent": f"pi_{unique}",
        "reason": "fraudulent",
        "status": "lost" if happened == "closed" else "needs_response",
    }
    return _built(f"charge.dispute.{happened}", content, changes, old=old)


def price(amount: int, interval: str = "month", *, count: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"price_{amount}_{interval}",
        "object": "price",
        "currency": "usd",
        "product": "prod_1",
        "recurring": {"interval": interval, "interval_count": count},
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    } | changes


def plan(amount: int, interval: str = "month") -> dict[str, Any]:
    """The older way to say a price."""
    return {
        "id": f"plan_{amount}_{interval}",
        "object": "plan",
        "amount": amount,
        "currency": "usd",
        "interval": interval,
        "interval_count": 1,
        "product": "prod_1",
    }


def subscription_items(*prices: dict[str, Any], quantity: int = 1) -> dict[str, Any]:
    items = [{"id": f"si_{n}", "price": p, "quantity": quantity} for n, p in enumerate(prices)]
    return {"object": "list", "data": items, "has_more": False}


def subscription_event(happened: str = "created", *, old: bool = False, **changes: Any) -> dict[str, Any]:
    """``customer.subscription.{happened}``: created, updated, deleted; ``previous`` is what an update changed."""
    unique = ulid.new()
    content: dict[str, Any] = {
        "id": f"sub_{unique}",
        "object": "subscription",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "created": int(time.time()),
        "currency": "usd",
        "customer": f"cus_{unique}",
        "ended_at": None,
        "items": subscription_items(price(2_000)),
        "metadata": {},
        "pause_collection": None,
        "start_date": int(time.time()),
        "status": "canceled" if happened == "deleted" else "active",
        "trial_end": None,
    }
    if old:
        content |= {
            "plan": plan(2_000),
            "quantity": 1,
            "items": {"object": "list", "data": [{"id": "si_0", "plan": plan(2_000), "quantity": 1}]},
        }
    return _built(f"customer.subscription.{happened}", content, changes, old=old)


def thin_event(type: str = "v1.billing.meter.error_report_triggered") -> dict[str, Any]:
    """https://docs.stripe.com/api/v2/core/events: an event without its object."""
    return {
        "id": f"evt_test_{ulid.new()}",
        "object": "v2.core.event",
        "type": type,
        "created": "2026-08-01T06:20:52.246Z",
        "livemode": True,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }


def signed(event: Any, secret: bytes = SECRET, at: int | None = None) -> dict[str, Any]:
    """Body and headers of the webhook, as keyword arguments for httpx."""
    body = event if isinstance(event, bytes) else msgspec.json.encode(event)
    timestamp = int(time.time()) if at is None else at
    header = signature.sign(body, secret, timestamp)
    return {"content": body, "headers": {"Stripe-Signature": header, "Content-Type": "application/json"}}
