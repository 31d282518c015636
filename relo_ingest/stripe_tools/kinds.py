"""The types of Stripe's events that are stored: what an endpoint has to send, and what can be triggered."""

from __future__ import annotations

SUPPORTED = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "invoice.paid",
    "invoice_payment.paid",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
)
"""At most 20: so many types one listing of events can ask for."""

PAYMENTS_APART = "2025-03-31"
"""Since this API version payments stand apart from invoices: https://docs.stripe.com/changelog/basil."""
LATEST = "2025-09-30.clover"
