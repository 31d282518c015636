"""Events as Stripe sends them, of every type that is stored, in the shapes of old and new API versions.

One customer's story: a subscription through Checkout, an upgrade and a renewal, a cash payment (OXXO) that arrives
and one that does not, a refund and one that fails, a dispute that is won, the end. Field names and the way objects name
each other are Stripe's (https://docs.stripe.com/api); what an account adds to them and nobody reads is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from relo_ingest.errors import ReloError
from relo_ingest.stripe_tools.kinds import PAYMENTS_APART

Fields = dict[str, Any]

CURRENCY = "usd"
STARTER, GROWTH = 29_00, 49_00
ONE_TIME = 15_00
REFUND, FAILED_REFUND = 9_00, 5_00
MONTH_S = 30 * 86_400


class NotInThisVersion(ReloError):
    """Stripe sends no such event under this API version."""


class Story:
    """The events of one run. ``run`` makes every id unique; ``now_s`` is when the last of them was created."""

    def __init__(self, run: str, now_s: int, api_version: str, *, livemode: bool = False, click_id: str = "") -> None:
        self._run = run
        self._livemode = livemode
        self._version = api_version
        self._modern = api_version[:10] >= PAYMENTS_APART
        self._metadata = {"relo_click_id": click_id} if click_id else {}
        self._started = now_s - 60
        self._told = 0

    def all(self) -> Iterator[Fields]:
        """The whole story, in the order in which Stripe tells it."""
        yield self.one("customer.subscription.created")
        yield self._event("invoice.paid", self._invoice(1, "subscription_create", STARTER))
        if self._modern:
            yield self._event("invoice_payment.paid", self._invoice_payment(1, STARTER))
        yield self.one("checkout.session.completed")
        yield self.one("customer.subscription.updated")
        yield self.one("invoice.paid")
        if self._modern:
            yield self.one("invoice_payment.paid")
        yield self._event("checkout.session.completed", self._cash_session(2, "unpaid"))
        yield self.one("checkout.session.async_payment_succeeded")
        yield self._event("checkout.session.completed", self._cash_session(3, "unpaid"))
        for kind in SINGLE:
            if kind not in TOLD_EARLIER:
                yield self.one(kind)

    def one(self, kind: str) -> Fields:
        """A single event of a type. Raises NotInThisVersion."""
        if kind == "invoice_payment.paid" and not self._modern:
            raise NotInThisVersion(
                f"Stripe sends {kind} since API version {PAYMENTS_APART}; give a later --api-version"
            )
        found = SINGLE[kind](self)
        before = found.pop("previous_attributes", None)
        return self._event(kind, found, before)

    def _event(self, kind: str, content: Fields, previous_attributes: Fields | None = None) -> Fields:
        self._told += 1
        data: Fields = {"object": content}
        if previous_attributes is not None:
            data["previous_attributes"] = previous_attributes
        return {
            "id": self._id("evt", self._told),
            "object": "event",
            "api_version": self._version,
            "created": self._started + 2 * self._told,
            "data": data,
            "livemode": self._livemode,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }

    def _id(self, prefix: str, number: int = 1) -> str:
        return f"{prefix}_{self._run}{number:02}"

    @property
    def _now(self) -> int:
        """When the event that is being told was created."""
        return self._started + 2 * (self._told + 1)

    @property
    def _email(self) -> str:
        return f"sample+{self._run.lower()}@example.com"

    # Checkout

    def _session(self, number: int, mode: str, amount: int, payment_status: str) -> Fields:
        subscribes = mode == "subscription"
        mark = "live" if self._livemode else "test"
        return {
            "id": self._id(f"cs_{mark}", number),
            "object": "checkout.session",
            "allow_promotion_codes": None,
            "amount_subtotal": amount,
            "amount_total": amount,
            "automatic_tax": {"enabled": False, "liability": None, "status": None},
            "cancel_url": "https://example.com/cancel",
            "client_reference_id": self._metadata.get("relo_click_id"),
            "created": self._now - 30,
            "currency": CURRENCY,
            "customer": self._id("cus"),
            "customer_details": {
                "address": {
                    "city": None,
                    "country": "MX",
                    "line1": None,
                    "line2": None,
                    "postal_code": None,
                    "state": None,
                },
                "email": self._email,
                "name": "Sample Customer",
                "phone": None,
                "tax_exempt": "none",
                "tax_ids": [],
            },
            "customer_email": None,
            "discounts": [],
            "expires_at": self._now + 86_400,
            "invoice": self._id("in") if subscribes else None,
            "livemode": self._livemode,
            "locale": None,
            "metadata": dict(self._metadata),
            "mode": mode,
            "payment_intent": None if subscribes else self._id("pi", number),
            "payment_link": None,
            "payment_method_types": ["card"] if subscribes else ["card", "oxxo"],
            "payment_status": payment_status,
            "setup_intent": None,
            "shipping_cost": None,
            "status": "complete",
            "subscription": self._id("sub") if subscribes else None,
            "success_url": "https://example.com/success",
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "url": None,
        }

    def _paid_session(self) -> Fields:
        return self._session(1, "subscription", STARTER, "paid")

    def _cash_session(self, number: int, payment_status: str) -> Fields:
        """A payment in cash; its intent has the session's number, while those of invoices count from 11."""
        return self._session(number, "payment", ONE_TIME, payment_status)

    # Billing

    def _invoice(self, number: int, reason: str, amount: int) -> Fields:
        period = {"start": self._now, "end": self._now + MONTH_S}
        line: Fields = {
            "id": self._id("il", number),
            "object": "line_item",
            "amount": amount,
            "currency": CURRENCY,
            "description": "1 × Sample plan",
            "discounts": [],
            "invoice": self._id("in", number),
            "livemode": self._livemode,
            "metadata": dict(self._metadata),
            "period": period,
            "quantity": 1,
        }
        invoice: Fields = {
            "id": self._id("in", number),
            "object": "invoice",
            "account_country": "MX",
            "amount_due": amount,
            "amount_paid": amount,
            "amount_remaining": 0,
            "attempt_count": 1,
            "attempted": True,
            "auto_advance": False,
            "billing_reason": reason,
            "collection_method": "charge_automatically",
            "created": self._now - 2,
            "currency": CURRENCY,
            "customer": self._id("cus"),
            "customer_email": self._email,
            "customer_name": "Sample Customer",
            "discounts": [],
            "ending_balance": 0,
            "lines": {
                "object": "list", "data": [line], "has_more": False,
                "url": f"/v1/invoices/{self._id('in', number)}/lines",
            },
            "livemode": self._livemode,
            "metadata": {},
            "number": f"{self._run[-8:]}-{number:04}",
            "period_end": self._now,
            "period_start": self._now,
            "starting_balance": 0,
            "status": "paid",
            "status_transitions": {
                "finalized_at": self._now, "marked_uncollectible_at": None, "paid_at": self._now, "voided_at": None,
            },
            "subtotal": amount,
            "subtotal_excluding_tax": amount,
            "total": amount,
            "total_excluding_tax": amount,
        }  # fmt: skip
        subscription = {"metadata": dict(self._metadata), "subscription": self._id("sub")}
        if self._modern:
            line["parent"] = {
                "type": "subscription_item_details",
                "invoice_item_details": None,
                "subscription_item_details": {
                    "invoice_item": None,
                    "proration": False,
                    "subscription": self._id("sub"),
                    "subscription_item": self._id("si"),
                },
            }
            line["pricing"] = {
                "type": "price_details",
                "price_details": {"price": self._price(amount)["id"], "product": self._id("prod")},
                "unit_amount_decimal": str(amount),
            }
            line["taxes"] = []
            invoice["parent"] = {
                "type": "subscription_details",
                "quote_details": None,
                "subscription_details": subscription,
            }
            invoice["total_taxes"] = []
            return invoice
        line |= {
            "plan": self._plan(amount), "price": self._price(amount), "proration": False, "tax_amounts": [],
            "subscription": self._id("sub"), "subscription_item": self._id("si"), "type": "subscription",
        }  # fmt: skip
        return invoice | {
            "charge": self._id("ch", 10 + number),
            "discount": None,
            "paid": True,
            "payment_intent": self._id("pi", 10 + number),
            "subscription": self._id("sub"),
            "subscription_details": {"metadata": dict(self._metadata)},
            "tax": None,
            "total_tax_amounts": [],
        }

    def _renewal(self) -> Fields:
        return self._invoice(2, "subscription_cycle", GROWTH)

    def _invoice_payment(self, number: int, amount: int) -> Fields:
        return {
            "id": self._id("inpay", number),
            "object": "invoice_payment",
            "amount_paid": amount,
            "amount_requested": amount,
            "created": self._now - 2,
            "currency": CURRENCY,
            "invoice": self._id("in", number),
            "is_default": True,
            "livemode": self._livemode,
            "payment": {"type": "payment_intent", "payment_intent": self._id("pi", 10 + number)},
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": self._now},
        }

    def _plan(self, amount: int) -> Fields:
        return {
            "id": f"price_{'starter' if amount == STARTER else 'growth'}_{self._run}",
            "object": "plan",
            "active": True,
            "amount": amount,
            "amount_decimal": str(amount),
            "billing_scheme": "per_unit",
            "created": self._started,
            "currency": CURRENCY,
            "interval": "month",
            "interval_count": 1,
            "livemode": self._livemode,
            "metadata": {},
            "product": self._id("prod"),
            "usage_type": "licensed",
        }

    def _price(self, amount: int) -> Fields:
        return {
            "id": self._plan(amount)["id"],
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "created": self._started,
            "currency": CURRENCY,
            "livemode": self._livemode,
            "metadata": {},
            "product": self._id("prod"),
            "recurring": {
                "interval": "month",
                "interval_count": 1,
                "trial_period_days": None,
                "usage_type": "licensed",
            },
            "type": "recurring",
            "unit_amount": amount,
            "unit_amount_decimal": str(amount),
        }

    def _items(self, amount: int) -> Fields:
        item: Fields = {
            "id": self._id("si"),
            "object": "subscription_item",
            "created": self._started,
            "metadata": {},
            "plan": self._plan(amount),
            "price": self._price(amount),
            "quantity": 1,
            "subscription": self._id("sub"),
        }
        if self._modern:
            item |= {
                "current_period_start": self._started,
                "current_period_end": self._started + MONTH_S,
                "discounts": [],
            }
        url = f"/v1/subscription_items?subscription={self._id('sub')}"
        return {"object": "list", "data": [item], "has_more": False, "total_count": 1, "url": url}

    def _subscription(self, amount: int, **changed: Any) -> Fields:
        found: Fields = {
            "id": self._id("sub"),
            "object": "subscription",
            "billing_cycle_anchor": self._started,
            "cancel_at": None,
            "cancel_at_period_end": False,
            "canceled_at": None,
            "cancellation_details": {"comment": None, "feedback": None, "reason": None},
            "collection_method": "charge_automatically",
            "created": self._started,
            "currency": CURRENCY,
            "customer": self._id("cus"),
            "discounts": [],
            "ended_at": None,
            "items": self._items(amount),
            "latest_invoice": self._id("in", 1 if amount == STARTER else 2),
            "livemode": self._livemode,
            "metadata": dict(self._metadata),
            "pause_collection": None,
            "start_date": self._started,
            "status": "active",
            "trial_end": None,
            "trial_start": None,
        }
        if not self._modern:
            found |= {
                "current_period_start": self._started, "current_period_end": self._started + MONTH_S, "discount": None,
                "plan": self._plan(amount), "quantity": 1,
            }  # fmt: skip
        return found | changed

    def _subscription_created(self) -> Fields:
        return self._subscription(STARTER)

    def _subscription_updated(self) -> Fields:
        before: Fields = {"items": self._items(STARTER)}
        if not self._modern:
            before["plan"] = self._plan(STARTER)
        return self._subscription(GROWTH, previous_attributes=before)

    def _subscription_deleted(self) -> Fields:
        return self._subscription(
            GROWTH,
            canceled_at=self._now,
            cancellation_details={"comment": None, "feedback": "too_expensive", "reason": "cancellation_requested"},
            ended_at=self._now,
            status="canceled",
        )

    # Money that goes back: the refunds are of the first invoice's charge, the dispute is of the renewal's.

    def _charge_refunded(self) -> Fields:
        charge: Fields = {
            "id": self._id("ch", 11),
            "object": "charge",
            "amount": STARTER,
            "amount_captured": STARTER,
            "amount_refunded": REFUND,
            "balance_transaction": self._id("txn", 11),
            "billing_details": {"address": None, "email": self._email, "name": "Sample Customer", "phone": None},
            "captured": True,
            "created": self._started,
            "currency": CURRENCY,
            "customer": self._id("cus"),
            "description": "Subscription creation",
            "disputed": False,
            "livemode": self._livemode,
            "metadata": {},
            "paid": True,
            "payment_intent": self._id("pi", 11),
            "payment_method": self._id("pm"),
            "payment_method_details": {"card": {"brand": "visa", "country": "MX", "last4": "4242"}, "type": "card"},
            "receipt_email": None,
            "refunded": False,
            "status": "succeeded",
            "previous_attributes": {"amount_refunded": 0, "receipt_url": None},
        }
        return charge if self._modern else charge | {"invoice": self._id("in")}

    def _refund(self, number: int, amount: int, status: str, **more: Any) -> Fields:
        return {
            "id": self._id("re", number),
            "object": "refund",
            "amount": amount,
            "balance_transaction": self._id("txn", 20 + number),
            "charge": self._id("ch", 11),
            "created": self._now,
            "currency": CURRENCY,
            "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
            "metadata": {},
            "payment_intent": self._id("pi", 11),
            "reason": "requested_by_customer",
            "receipt_number": None,
            "status": status,
        } | more

    def _refund_created(self) -> Fields:
        return self._refund(1, REFUND, "succeeded")

    def _refund_updated(self) -> Fields:
        details = {"reference": "3704", "reference_status": "available", "type": "refund"}
        before = {"destination_details": {"card": {"reference": None, "reference_status": "pending"}}}
        return self._refund(
            1, REFUND, "succeeded", created=self._now - 4, destination_details={"card": details, "type": "card"},
            previous_attributes=before,
        )  # fmt: skip

    def _refund_failed(self) -> Fields:
        return self._refund(2, FAILED_REFUND, "failed", failure_reason="expired_or_canceled_card")

    def _dispute(self, status: str, moved: int, **more: Any) -> Fields:
        """``moved``: how often the money went: out once, and back the second time."""
        return {
            "id": self._id("du"),
            "object": "dispute",
            "amount": GROWTH,
            "balance_transactions": [
                {
                    "id": self._id("txn", 30 + n),
                    "object": "balance_transaction",
                    "amount": -GROWTH if n == 0 else GROWTH,
                    "currency": CURRENCY,
                    "fee": 1500 if n == 0 else 0,
                    "reporting_category": "dispute" if n == 0 else "dispute_reversal",
                    "type": "adjustment",
                }
                for n in range(moved)
            ],
            "charge": self._id("ch", 12),
            "created": self._now,
            "currency": CURRENCY,
            "evidence_details": {
                "due_by": self._now + 7 * 86_400, "has_evidence": False, "past_due": False, "submission_count": 0,
            },
            "is_charge_refundable": False,
            "livemode": self._livemode,
            "metadata": {},
            "payment_intent": self._id("pi", 12),
            "payment_method_details": {
                "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"}, "type": "card",
            },
            "reason": "fraudulent",
            "status": status,
        } | more  # fmt: skip


SINGLE: dict[str, Callable[[Story], Fields]] = {
    "customer.subscription.created": Story._subscription_created,
    "checkout.session.completed": Story._paid_session,
    "customer.subscription.updated": Story._subscription_updated,
    "invoice.paid": Story._renewal,
    "invoice_payment.paid": lambda story: story._invoice_payment(2, GROWTH),
    "checkout.session.async_payment_succeeded": lambda story: story._cash_session(2, "paid"),
    "checkout.session.async_payment_failed": lambda story: story._cash_session(3, "unpaid"),
    "refund.created": Story._refund_created,
    "charge.refunded": Story._charge_refunded,
    "refund.updated": Story._refund_updated,
    "refund.failed": Story._refund_failed,
    "charge.dispute.created": lambda story: story._dispute("needs_response", 0),
    "charge.dispute.funds_withdrawn": lambda story: story._dispute("needs_response", 1),
    "charge.dispute.funds_reinstated": lambda story: story._dispute("won", 2),
    "charge.dispute.closed": lambda story: story._dispute("won", 2, previous_attributes={"status": "under_review"}),
    "customer.subscription.deleted": Story._subscription_deleted,
}
"""The object of each type, when it is told alone: of an invoice, the renewal, because that one has revenue."""

TOLD_EARLIER = (
    *("customer.subscription.created", "checkout.session.completed", "customer.subscription.updated", "invoice.paid"),
    *("invoice_payment.paid", "checkout.session.async_payment_succeeded"),
)
