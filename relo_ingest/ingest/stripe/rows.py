"""What each Stripe event means: the row of `events` that it becomes. One function per kind, one row per event.

The table of names and amounts is that of the integration guide. Which reports belong to one payment is decided later,
by the views over what these rows say:

- ``conversion_key``: the payment's invoice, else its payment intent, else its session, where the payload tells;
- ``refs``: ids of the same payment, what leads furthest first (invoice, payment intent, charge, then the object's own).
  Never a customer or a subscription: they would make one conversion of many payments.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET

from relo_ingest._fast import digest
from relo_ingest.events import SCALE, Event
from relo_ingest.ingest.stripe import payloads
from relo_ingest.ingest.stripe.payloads import (
    CheckoutSession,
    Discount,
    Invoice,
    Metadata,
    Presentment,
    Price,
    StripeEvent,
    Subscription,
    SubscriptionBefore,
    SubscriptionItem,
    id_of,
)
from relo_ingest.money import scaled_from_minor

Row = Callable[[StripeEvent, int, int], Event | None]
Properties = dict[str, Any]

_encode = msgspec.json.encode

DAYS_X12 = {"day": 12, "week": 84, "month": 365, "year": 4380}
"""Length of a billing interval in twelfths of a day, so that a month is whole."""
REFUND_CAME_BACK = ("failed", "canceled")
"""Statuses of a refund whose money the customer did not get: https://docs.stripe.com/refunds#failed-refunds."""


def to_event(envelope: StripeEvent, client_id: int, received_at: int) -> Event | None:
    """The row of a Stripe event, or None for one that is not stored. ``received_at`` is Unix milliseconds.

    Raises msgspec.DecodeError when the object is not what its type says, OverflowError for an absurd amount.
    """
    row = ROWS.get(envelope.type)
    return row(envelope, client_id, received_at) if row is not None else None


def _event(
    envelope: StripeEvent,
    client_id: int,
    received_at: int,
    event_type: str,
    event_name: str,
    order_id: str,
    properties: Properties,
    click_id: str = "",
    conversion_key: str = "",
    refs: tuple[str, ...] = (),
    revenue: int = 0,
    currency: str = "",
    email_hash: str = "",
    customer_ref: str = "",
    promo_code: str = "",
) -> Event:
    if envelope.account:
        properties["account"] = envelope.account
    # By position, in the order of events.COLUMNS: naming 31 fields would take longer than all the rest of it.
    return Event(
        envelope.id,
        client_id,
        envelope.created * 1000,
        received_at,
        event_type,
        event_name,
        "stripe",
        "stripe",
        not envelope.livemode,
        "",  # device_id
        click_id,
        "",  # partner_ref
        "",  # offer
        order_id,
        conversion_key,
        refs,
        revenue,
        currency,
        email_hash,
        customer_ref,
        promo_code,
        "",  # url and what else is of a browser
        "",
        "",
        "",
        "",
        False,
        "",
        "",
        "",
        _encode(properties),  # of text and numbers that msgspec has read: ClickHouse takes them as they are
    )


# Checkout


def _session_completed(envelope: StripeEvent, client_id: int, received_at: int) -> Event | None:
    session = payloads.decode_session(envelope.data.object)
    if session.mode == "setup":
        return None  # a card was saved, nothing was sold
    if session.payment_status == "unpaid":
        return _session(envelope, session, client_id, received_at, "purchase_pending")
    return _session(envelope, session, client_id, received_at, "purchase")


def _session_succeeded(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    session = payloads.decode_session(envelope.data.object)
    return _session(envelope, session, client_id, received_at, "purchase")


def _session_failed(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    session = payloads.decode_session(envelope.data.object)
    return _session(envelope, session, client_id, received_at, "purchase_failed")


def _session(envelope: StripeEvent, session: CheckoutSession, client_id: int, received_at: int, name: str) -> Event:
    paid = name == "purchase"
    currency = session.currency.upper() if session.currency else ""
    invoice, intent, subscription = id_of(session.invoice), id_of(session.payment_intent), id_of(session.subscription)
    amount = scaled_from_minor(session.amount_total or 0, currency)
    details, customer = session.total_details, session.customer_details
    properties: Properties = {"mode": session.mode or "", "payment_status": session.payment_status}
    if subscription:
        properties["subscription"] = subscription
    if not paid:
        properties["amount"] = as_text(amount)
    if details is not None:
        _add_amount(properties, "tax", details.amount_tax, currency)
        _add_amount(properties, "shipping", details.amount_shipping, currency)
        _add_amount(properties, "discount", details.amount_discount, currency)
    if session.presentment_details is not None:
        _add_presentment(properties, session.presentment_details)
    if session.currency_conversion is not None:
        source = session.currency_conversion.source_currency.upper()
        _add_amount(properties, "source_amount", session.currency_conversion.amount_total, source)
        properties["source_currency"] = source
    email = (customer.email if customer is not None else None) or session.customer_email
    return _event(
        envelope,
        client_id,
        received_at,
        "purchase" if paid else "custom",
        name,
        session.id,
        properties,
        (session.metadata and session.metadata.relo_click_id) or session.client_reference_id or "",
        # The invoice or payment intent is what later reports of the same payment name.
        (invoice or intent or session.id) if paid else "",
        tuple([ref for ref in (invoice, intent, session.id) if ref]),
        amount if paid else 0,
        currency,
        digest.email_hash(email) if email else "",
        id_of(session.customer),
        _promo_code_of_session(session),
    )


def _promo_code_of_session(session: CheckoutSession) -> str:
    if session.discounts:
        for discount in session.discounts:
            code = _promo_code(discount)
            if code:
                return code
    details = session.total_details
    if details is not None and details.breakdown is not None:
        for part in details.breakdown.discounts or ():
            if isinstance(part.discount, Discount):
                code = _promo_code(part.discount)
                if code:
                    return code
    return ""


# Invoices


def _invoice_paid(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    invoice = payloads.decode_invoice(envelope.data.object)
    currency = invoice.currency.upper() if invoice.currency else ""
    amount = scaled_from_minor(invoice.amount_paid, currency)
    subscription, click_id = _subscription_of(invoice)
    reason = invoice.billing_reason or ""
    properties: Properties = {"billing_reason": reason}
    if subscription:
        properties["subscription"] = subscription
    _add_amount(properties, "tax", _tax(invoice), currency)
    if invoice.shipping_cost is not None:
        _add_amount(properties, "shipping", invoice.shipping_cost.amount_total, currency)
    name, revenue = "invoice_payment", amount
    if reason == "subscription_cycle":
        name = "subscription_renewal"
    elif reason == "subscription_create":
        # The Checkout session counts; where none comes, the view counts this amount.
        name, revenue = "subscription_first_invoice", 0
        properties["amount"] = as_text(amount)
    return _event(
        envelope,
        client_id,
        received_at,
        "custom",
        name,
        invoice.id,
        properties,
        click_id,
        invoice.id,
        _refs_of(invoice),
        revenue,
        currency,
        digest.email_hash(invoice.customer_email) if invoice.customer_email else "",
        id_of(invoice.customer),
        _promo_code_in(invoice.discount, invoice.discounts),
    )


def _refs_of(invoice: Invoice) -> tuple[str, ...]:
    """The invoice and whatever paid it, as far as it says."""
    found = [invoice.id, id_of(invoice.payment_intent), id_of(invoice.charge)]
    if invoice.payments is not None:
        for paid in invoice.payments.data:
            if paid.payment is not None:
                found += (id_of(paid.payment.payment_intent), id_of(paid.payment.charge))
    return tuple(dict.fromkeys(ref for ref in found if ref))


def _subscription_of(invoice: Invoice) -> tuple[str, str]:
    """(subscription, click id) of an invoice, wherever its version keeps them."""
    subscription = id_of(invoice.subscription)
    click_id = _click_id(invoice.metadata)
    details = (invoice.parent and invoice.parent.subscription_details) or invoice.subscription_details
    if details is not None:
        subscription = subscription or id_of(details.subscription)
        click_id = click_id or _click_id(details.metadata)
    if (subscription and click_id) or not invoice.lines or invoice.lines == b"null":
        return subscription, click_id
    # Read last, because they may be many.
    for line in payloads.decode_lines(invoice.lines).data:
        click_id = click_id or _click_id(line.metadata)
        parent = line.parent and line.parent.subscription_item_details
        subscription = subscription or id_of(line.subscription) or (id_of(parent.subscription) if parent else "")
    return subscription, click_id


def _tax(invoice: Invoice) -> int | None:
    if invoice.total_taxes is not None:
        return sum(tax.amount or 0 for tax in invoice.total_taxes)
    return invoice.tax


def _invoice_payment_paid(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    link = payloads.decode_invoice_payment(envelope.data.object)
    currency = link.currency.upper() if link.currency else ""
    invoice = id_of(link.invoice)
    properties: Properties = {}
    _add_amount(properties, "amount", link.amount_paid, currency)
    return _event(
        envelope,
        client_id,
        received_at,
        "custom",
        "invoice_payment_linked",
        invoice,
        properties,
        conversion_key=invoice,
        refs=_known(invoice, id_of(link.payment.payment_intent), id_of(link.payment.charge), link.id),
        currency=currency,
    )


# Money that goes back


def _charge_refunded(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    charge = payloads.decode_charge(envelope.data.object)
    currency = charge.currency.upper() if charge.currency else ""
    invoice = "" if charge.invoice is UNSET else id_of(charge.invoice)
    intent = id_of(charge.payment_intent)
    total = scaled_from_minor(charge.amount_refunded, currency)
    before = 0
    if envelope.data.previous_attributes:
        earlier = payloads.decode_charge_before(envelope.data.previous_attributes)
        before = scaled_from_minor(earlier.amount_refunded or 0, currency)
    properties: Properties = {"charge": charge.id, "amount_refunded": as_text(total)}
    if charge.presentment_details is not None:
        _add_presentment(properties, charge.presentment_details)
    return _event(
        envelope,
        client_id,
        received_at,
        "refund",
        "refund",
        invoice or intent or charge.id,
        properties,
        # Before 2025-03-31 a charge says whether it has an invoice; since then an invoice payment tells.
        conversion_key="" if charge.invoice is UNSET else invoice or intent,
        refs=_known(invoice, intent, charge.id),
        revenue=min(before - total, 0),
        currency=currency,
        customer_ref=id_of(charge.customer),
    )


def _refund(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    refund = payloads.decode_refund(envelope.data.object)
    currency = refund.currency.upper() if refund.currency else ""
    intent, charge = id_of(refund.payment_intent), id_of(refund.charge)
    amount = scaled_from_minor(refund.amount, currency)
    came_back = refund.status in REFUND_CAME_BACK or envelope.type == "refund.failed"
    properties: Properties = {
        "refund": refund.id,
        "amount": as_text(amount),
        "status": refund.status or "",
        "created": refund.created or envelope.created,
    }
    if charge:
        properties["charge"] = charge
    if refund.reason:
        properties["reason"] = refund.reason
    if refund.failure_reason:
        properties["failure_reason"] = refund.failure_reason
    if refund.presentment_details is not None:
        _add_presentment(properties, refund.presentment_details)
    return _event(
        envelope,
        client_id,
        received_at,
        "refund",
        "refund_failed" if came_back else "refund",
        intent or charge,
        properties,
        refs=_known(intent, charge, refund.id),
        revenue=0 if came_back else -amount,
        currency=currency,
    )


DISPUTES = {
    "charge.dispute.created": ("chargeback_opened", 0),
    "charge.dispute.funds_withdrawn": ("chargeback", -1),
    "charge.dispute.funds_reinstated": ("chargeback_reversed", 1),
    "charge.dispute.closed": ("chargeback_closed", 0),
}
"""event_name, and the sign of the money that moved."""


def _dispute(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    dispute = payloads.decode_dispute(envelope.data.object)
    currency = dispute.currency.upper() if dispute.currency else ""
    intent, charge = id_of(dispute.payment_intent), id_of(dispute.charge)
    amount = scaled_from_minor(dispute.amount, currency)
    name, sign = DISPUTES[envelope.type]
    properties: Properties = {"dispute": dispute.id, "amount": as_text(amount), "status": dispute.status or ""}
    if charge:
        properties["charge"] = charge
    if dispute.reason:
        properties["reason"] = dispute.reason
    return _event(
        envelope,
        client_id,
        received_at,
        "chargeback",
        name,
        intent or charge,
        properties,
        refs=_known(intent, charge, dispute.id),
        revenue=sign * amount,
        currency=currency,
    )


# Subscriptions


def _subscription(envelope: StripeEvent, client_id: int, received_at: int) -> Event:
    subscription = payloads.decode_subscription(envelope.data.object)
    items = _items(subscription)
    price = _price(items[0]) if items else None
    currency = (subscription.currency or (price.currency if price else None) or "").upper()
    properties: Properties = {
        "subscription": subscription.id,
        "status": subscription.status,
        "started": subscription.start_date or subscription.created or envelope.created,
    }
    if price is not None:
        properties["plan"] = price.id or ""
        if price.product is not None:
            properties["product"] = id_of(price.product)
        interval, count = _interval(price)
        properties["interval"], properties["interval_count"] = interval, count
        _add_amount(properties, "amount", _whole_amount(items), currency)
    quantities = [item.quantity for item in items if item.quantity is not None]
    if quantities:
        properties["quantity"] = sum(quantities)
    if subscription.cancel_at_period_end:
        properties["cancel_at_period_end"] = True
    for name in ("cancel_at", "ended_at", "trial_end"):
        value = getattr(subscription, name)
        if value is not None:
            properties[name] = value
    why = subscription.cancellation_details
    if why is not None and why.reason:
        properties["cancel_reason"] = why.reason
    if why is not None and why.feedback:
        properties["cancel_feedback"] = why.feedback
    if subscription.pause_collection is not None:
        properties["paused"] = True
    name = SUBSCRIPTIONS[envelope.type]
    if name == "subscription_updated":
        before = payloads.decode_subscription_before(envelope.data.previous_attributes or b"{}")
        properties["change"] = change(subscription, before)
    return _event(
        envelope,
        client_id,
        received_at,
        "custom",
        name,
        subscription.id,
        properties,
        click_id=_click_id(subscription.metadata),
        currency=currency,
        customer_ref=id_of(subscription.customer),
        promo_code=_promo_code_in(subscription.discount, subscription.discounts),
    )


def change(now: Subscription, before: SubscriptionBefore) -> str:
    """What an update was: upgrade, downgrade, pause, resume, cancel_scheduled, or other.

    An upgrade costs more per time, whatever the intervals are; where prices do not tell (tiers), more pieces do.
    """
    verdict = _price_change(now, before)
    if verdict:
        return verdict
    if before.status is not UNSET and (before.status == "paused") != (now.status == "paused"):
        return "pause" if now.status == "paused" else "resume"
    if before.pause_collection is not UNSET and (before.pause_collection is None) != (now.pause_collection is None):
        return "resume" if now.pause_collection is None else "pause"
    ends = bool(now.cancel_at_period_end) or now.cancel_at is not None
    ended = [bool(v) for v in (before.cancel_at_period_end, before.cancel_at) if v is not UNSET]
    if ends and ended and not any(ended) and now.status != "canceled":
        return "cancel_scheduled"
    return "other"


def _price_change(now: Subscription, before: SubscriptionBefore) -> str:
    items = _items(now)
    if before.items is not UNSET and before.items is not None and before.items.data:
        earlier = before.items.data
    elif (before.plan is not UNSET or before.quantity is not UNSET) and len(items) == 1:
        plan = before.plan if before.plan is not UNSET else _price(items[0])
        quantity = before.quantity if before.quantity is not UNSET else items[0].quantity
        earlier = [SubscriptionItem(plan=plan, quantity=quantity)]
    else:
        return ""
    new, old = _rate(items), _rate(earlier)
    if new is None or old is None:
        new, old = _pieces(items), _pieces(earlier)
    return "upgrade" if new > old else "downgrade" if new < old else ""


def _items(subscription: Subscription) -> list[SubscriptionItem]:
    if subscription.items is not None and subscription.items.data:
        return subscription.items.data
    if subscription.plan is not None:
        return [SubscriptionItem(plan=subscription.plan, quantity=subscription.quantity)]
    return []


def _price(item: SubscriptionItem) -> Price | None:
    return item.price or item.plan


def _interval(price: Price) -> tuple[str, int]:
    of = price.recurring or price
    return of.interval or "", of.interval_count or 1


def _amount(price: Price) -> Decimal | None:
    """Minor units, perhaps with a fraction; None for tiers."""
    whole = price.unit_amount if price.unit_amount is not None else price.amount
    if whole is not None:
        return Decimal(whole)
    text = price.unit_amount_decimal or price.amount_decimal
    return Decimal(text) if text and text.replace(".", "", 1).isdecimal() else None


def _rate(items: list[SubscriptionItem]) -> Decimal | None:
    """Minor units per time, exact enough to compare; None where a price does not tell."""
    rate = Decimal(0)
    for item in items:
        price = _price(item)
        amount = _amount(price) if price is not None else None
        if price is None or amount is None:
            return None
        interval, count = _interval(price)
        rate += amount * (item.quantity if item.quantity is not None else 1) / (DAYS_X12.get(interval, 1) * count)
    return rate


def _pieces(items: list[SubscriptionItem]) -> Decimal:
    return Decimal(sum(item.quantity or 0 for item in items))


def _whole_amount(items: list[SubscriptionItem]) -> int | None:
    """What one interval costs in minor units; None where a price does not tell or has fractions."""
    total = Decimal(0)
    for item in items:
        price = _price(item)
        amount = _amount(price) if price is not None else None
        if amount is None:
            return None
        total += amount * (item.quantity if item.quantity is not None else 1)
    return int(total) if total == int(total) else None


# What they share


def as_text(scaled: int) -> str:
    """An amount in 1/SCALE units as decimal text in whole ones: 199900 → "19.99"."""
    whole, rest = divmod(abs(scaled), SCALE)
    text = f"{whole}.{rest:04}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text


def _add_amount(properties: Properties, name: str, amount: int | None, currency: str) -> None:
    if amount:
        properties[name] = as_text(scaled_from_minor(amount, currency))


def _add_presentment(properties: Properties, shown: Presentment) -> None:
    currency = shown.presentment_currency.upper()
    properties["presentment_amount"] = as_text(scaled_from_minor(shown.presentment_amount, currency))
    properties["presentment_currency"] = currency


def _click_id(metadata: Metadata | None) -> str:
    return (metadata.relo_click_id or "") if metadata is not None else ""


def _promo_code(discount: Discount) -> str:
    """The code's text where Stripe expanded it, else the id of the promotion code."""
    found = discount.promotion_code
    if found is None:
        return ""
    return found if isinstance(found, str) else found.code or found.id


def _promo_code_in(one: Discount | None, several: list[str | Discount] | None) -> str:
    for discount in (one, *(several or ())):
        if isinstance(discount, Discount):
            code = _promo_code(discount)
            if code:
                return code
    return ""


def _known(*ids: str) -> tuple[str, ...]:
    return tuple([i for i in ids if i])


SUBSCRIPTIONS = {
    "customer.subscription.created": "subscription_created",
    "customer.subscription.updated": "subscription_updated",
    "customer.subscription.deleted": "subscription_cancelled",
}

ROWS: dict[str, Row] = {
    "checkout.session.completed": _session_completed,
    "checkout.session.async_payment_succeeded": _session_succeeded,
    "checkout.session.async_payment_failed": _session_failed,
    "invoice.paid": _invoice_paid,
    "invoice_payment.paid": _invoice_payment_paid,
    "charge.refunded": _charge_refunded,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    **dict.fromkeys(DISPUTES, _dispute),
    **dict.fromkeys(SUBSCRIPTIONS, _subscription),
}
"""Every Stripe type that is stored."""
