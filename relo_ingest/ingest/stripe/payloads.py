"""What is read of Stripe's objects, in the shapes of all API versions: https://docs.stripe.com/api.

Nothing else of a payload is looked at, so that what Stripe adds changes nothing. A field that one version lacks has a
default; an object may stand where its id is expected (it was expanded).
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

T = TypeVar("T")


class Expanded(msgspec.Struct, gc=False):
    """An object in place of its id. ``code`` is that of a promotion code."""

    id: str
    code: str = ""


Reference = str | Expanded | None


def id_of(reference: Reference) -> str:
    if reference is None:
        return ""
    return reference if isinstance(reference, str) else reference.id


class List(msgspec.Struct, Generic[T], gc=False):
    data: list[T] = []


class Metadata(msgspec.Struct, gc=False):
    """``metadata`` holds whatever the client put there; this key is ours."""

    relo_click_id: str | None = None


class Discount(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/discounts/object; a session's ``discounts`` have the same field."""

    promotion_code: Reference = None


class Presentment(msgspec.Struct, gc=False):
    """What the customer saw, where Stripe converts."""

    presentment_amount: int
    presentment_currency: str


class Data(msgspec.Struct, gc=False):
    object: msgspec.Raw
    previous_attributes: msgspec.Raw = msgspec.Raw(b"")


class StripeEvent(msgspec.Struct, gc=False):
    """The envelope: https://docs.stripe.com/api/events/object. ``created`` is in Unix seconds."""

    id: str
    type: str
    created: int
    data: Data
    livemode: bool = False
    object: str = "event"
    account: str | None = None
    """The connected account that the event is of (Connect)."""


class ThinEvent(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/v2/core/events: it names an object instead of holding it."""

    object: str = ""


# checkout.session


class CustomerDetails(msgspec.Struct, gc=False):
    email: str | None = None


class DiscountAmount(msgspec.Struct, gc=False):
    discount: str | Discount | None = None


class Breakdown(msgspec.Struct, gc=False):
    discounts: list[DiscountAmount] | None = None


class TotalDetails(msgspec.Struct, gc=False):
    amount_discount: int | None = None
    amount_shipping: int | None = None
    amount_tax: int | None = None
    breakdown: Breakdown | None = None


class CurrencyConversion(msgspec.Struct, gc=False):
    """Before 2025-03-31: the session is in the customer's currency, this says what it is in the client's."""

    amount_total: int
    source_currency: str


class CheckoutSession(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/checkout/sessions/object"""

    id: str
    payment_status: str
    amount_total: int | None = None
    client_reference_id: str | None = None
    currency: str | None = None
    currency_conversion: CurrencyConversion | None = None
    customer: Reference = None
    customer_details: CustomerDetails | None = None
    customer_email: str | None = None
    discounts: list[Discount] | None = None
    invoice: Reference = None
    metadata: Metadata | None = None
    mode: str | None = None
    payment_intent: Reference = None
    presentment_details: Presentment | None = None
    subscription: Reference = None
    total_details: TotalDetails | None = None


# invoice


class SubscriptionDetails(msgspec.Struct, gc=False):
    metadata: Metadata | None = None
    subscription: Reference = None


class InvoiceParent(msgspec.Struct, gc=False):
    subscription_details: SubscriptionDetails | None = None


class SubscriptionItemDetails(msgspec.Struct, gc=False):
    subscription: Reference = None


class LineParent(msgspec.Struct, gc=False):
    subscription_item_details: SubscriptionItemDetails | None = None


class Line(msgspec.Struct, gc=False):
    metadata: Metadata | None = None
    parent: LineParent | None = None
    subscription: Reference = None


class Payment(msgspec.Struct, gc=False):
    """What paid an invoice: a payment intent, or a charge that has none."""

    charge: Reference = None
    payment_intent: Reference = None


class PaymentOfInvoice(msgspec.Struct, gc=False):
    payment: Payment | None = None


class Amount(msgspec.Struct, gc=False):
    amount: int | None = None


class Shipping(msgspec.Struct, gc=False):
    amount_total: int | None = None


class Invoice(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/invoices/object

    Until 2025-03-31 ``subscription``, ``subscription_details``, ``payment_intent``, ``charge`` and ``tax``; since then
    ``parent``, ``payments`` (only where included; else in invoice_payment.paid) and ``total_taxes``.
    """

    id: str
    amount_paid: int
    billing_reason: str | None = None
    charge: Reference = None
    currency: str | None = None
    customer: Reference = None
    customer_email: str | None = None
    discount: Discount | None = None
    discounts: list[str | Discount] | None = None
    lines: msgspec.Raw = msgspec.Raw(b"")
    metadata: Metadata | None = None
    parent: InvoiceParent | None = None
    payment_intent: Reference = None
    payments: List[PaymentOfInvoice] | None = None
    subscription: Reference = None
    subscription_details: SubscriptionDetails | None = None
    tax: int | None = None
    total_taxes: list[Amount] | None = None
    shipping_cost: Shipping | None = None


class InvoicePayment(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/invoice-payment/object"""

    id: str
    invoice: Reference
    payment: Payment
    amount_paid: int | None = None
    currency: str | None = None


# charge, refund, dispute


class Charge(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/charges/object. ``invoice`` is UNSET since 2025-03-31: whether there is one is not
    known from the charge any more."""

    id: str
    amount_refunded: int
    amount: int | None = None
    currency: str | None = None
    customer: Reference = None
    invoice: Reference | UnsetType = UNSET
    payment_intent: Reference = None
    presentment_details: Presentment | None = None


class ChargeBefore(msgspec.Struct, gc=False):
    amount_refunded: int | None = None


class Refund(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/refunds/object. It has no ``livemode``: the event's counts."""

    id: str
    amount: int
    charge: Reference = None
    created: int = 0
    currency: str | None = None
    failure_reason: str | None = None
    payment_intent: Reference = None
    presentment_details: Presentment | None = None
    reason: str | None = None
    status: str | None = None


class Dispute(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/disputes/object"""

    id: str
    amount: int
    charge: Reference = None
    currency: str | None = None
    payment_intent: Reference = None
    reason: str | None = None
    status: str | None = None


# customer.subscription


class Recurring(msgspec.Struct, gc=False):
    interval: str | None = None
    interval_count: int | None = None


class Price(msgspec.Struct, gc=False):
    """A price, or a plan (older): a price has its interval in ``recurring``, a plan in itself."""

    id: str | None = None
    amount: int | None = None
    amount_decimal: str | None = None
    currency: str | None = None
    interval: str | None = None
    interval_count: int | None = None
    product: Reference = None
    recurring: Recurring | None = None
    unit_amount: int | None = None
    unit_amount_decimal: str | None = None


class SubscriptionItem(msgspec.Struct, gc=False):
    plan: Price | None = None
    price: Price | None = None
    quantity: int | None = None


class CancellationDetails(msgspec.Struct, gc=False):
    feedback: str | None = None
    reason: str | None = None


class Subscription(msgspec.Struct, gc=False):
    """https://docs.stripe.com/api/subscriptions/object; ``plan`` and ``quantity`` of its own are older."""

    id: str
    status: str
    cancel_at: int | None = None
    cancel_at_period_end: bool | None = None
    cancellation_details: CancellationDetails | None = None
    created: int | None = None
    currency: str | None = None
    customer: Reference = None
    discount: Discount | None = None
    discounts: list[str | Discount] | None = None
    ended_at: int | None = None
    items: List[SubscriptionItem] | None = None
    latest_invoice: Reference = None
    metadata: Metadata | None = None
    pause_collection: dict[str, msgspec.Raw] | None = None
    plan: Price | None = None
    quantity: int | None = None
    start_date: int | None = None
    trial_end: int | None = None


class SubscriptionBefore(msgspec.Struct, gc=False):
    """``previous_attributes``: what changed, with the value before; UNSET is what did not."""

    cancel_at: int | UnsetType | None = UNSET
    cancel_at_period_end: bool | UnsetType | None = UNSET
    items: List[SubscriptionItem] | UnsetType | None = UNSET
    pause_collection: dict[str, msgspec.Raw] | UnsetType | None = UNSET
    plan: Price | UnsetType | None = UNSET
    quantity: int | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET


decode_event = msgspec.json.Decoder(StripeEvent).decode
decode_thin = msgspec.json.Decoder(ThinEvent).decode
decode_session = msgspec.json.Decoder(CheckoutSession).decode
decode_invoice = msgspec.json.Decoder(Invoice).decode
decode_lines = msgspec.json.Decoder(List[Line]).decode
decode_invoice_payment = msgspec.json.Decoder(InvoicePayment).decode
decode_charge = msgspec.json.Decoder(Charge).decode
decode_charge_before = msgspec.json.Decoder(ChargeBefore).decode
decode_refund = msgspec.json.Decoder(Refund).decode
decode_dispute = msgspec.json.Decoder(Dispute).decode
decode_subscription = msgspec.json.Decoder(Subscription).decode
decode_subscription_before = msgspec.json.Decoder(SubscriptionBefore).decode
