"""From reports to sales: which events tell of the same payment, and what they say of it together.

The full story of this part is schema 0006, and has an oracle of its own (tests/ingest/stripe/test_conversion_oracle.py);
here it is told as far as the worlds go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from worker.oracle.facts import Event

INVOICES = ("subscription_renewal", "subscription_first_invoice", "invoice_payment")
MONEY_BACK = ("refund", "chargeback")
FOREVER = 10**15


@dataclass(frozen=True)
class Conversion:
    key: str
    kind: str
    """purchase, renewal, lead"""
    at: int
    revenue: Decimal
    currency: str
    tax: Decimal
    shipping: Decimal
    refunded: Decimal
    charged_back: Decimal
    is_test: bool
    click_id: str
    promo_code: str
    device_id: str
    email_hash: str
    customer_ref: str
    subscription: str

    @property
    def place(self) -> tuple[int, str]:
        """Its place in the order of conversions."""
        return self.at, self.key

    def is_relative_of(self, other: Conversion) -> bool:
        same_subscription = self.subscription != "" and self.subscription == other.subscription
        same_customer = self.customer_ref != "" and self.customer_ref == other.customer_ref
        return self is not other and (same_subscription or same_customer)


class Book:
    """All sales of one client, from its events."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = list({e.event_id: e for e in events}.values())  # an event that came twice is one
        self._roads = self._ids_that_lead_on()
        self._reports = [e for e in self._events if _is_report(e)]
        by_key: dict[str, list[Event]] = {}
        for report in self._reports:
            by_key.setdefault(self.home(report.conversion_key), []).append(report)
        self._money_back: dict[str, list[Event]] = {}
        for event in self._events:
            if event.event_type in MONEY_BACK and (event.conversion_key or event.refs):
                self._money_back.setdefault(self.home(event.conversion_key or event.refs[0]), []).append(event)
        everything = [self._conversion(key, reports) for key, reports in by_key.items()]
        self.conversions = sorted((c for c in everything if self._counts(c)), key=lambda c: c.place)

    @staticmethod
    def _counts(conversion: Conversion) -> bool:
        return not conversion.is_test

    def _ids_that_lead_on(self) -> dict[str, str]:
        """id → the id that it leads to: a session or payment intent to its invoice, a charge to its intent."""
        roads: dict[str, str] = {}
        for event in self._events:
            goal = event.conversion_key
            if not goal and event.event_type in MONEY_BACK and event.refs:
                goal = event.refs[0]
            if goal:
                roads.update({ref: goal for ref in event.refs if ref != goal})
        return roads

    def home(self, key: str) -> str:
        """The key of the sale that an id belongs to."""
        while key in self._roads:
            key = self._roads[key]
        return key

    def _conversion(self, key: str, reports: list[Event]) -> Conversion:
        sales = [r for r in reports if r.event_name not in INVOICES]
        by_weight = sorted(reports, key=lambda r: (r.event_name in INVOICES, r.event_time, r.event_id))
        subscription = next((s for r in by_weight if (s := _text(r, "subscription"))), "")
        currency = _first(by_weight, "currency")
        at = min(r.event_time for r in reports)
        return Conversion(
            key=key,
            kind=self._kind(key, at, subscription, reports, sold=bool(sales)),
            at=at,
            revenue=max(_amount(r) for r in sales or reports),
            currency=currency,
            tax=max(_number(r, "tax") for r in reports),
            shipping=max(_number(r, "shipping") for r in reports),
            refunded=self._refunded(key, currency),
            charged_back=self._charged_back(key, currency),
            is_test=any(r.is_test for r in reports),
            click_id=_first(by_weight, "click_id"),
            promo_code=_first(by_weight, "promo_code"),
            device_id=_first(by_weight, "device_id"),
            email_hash=_first(by_weight, "email_hash"),
            customer_ref=_first(by_weight, "customer_ref"),
            subscription=subscription,
        )

    def _kind(self, key: str, at: int, subscription: str, reports: list[Event], *, sold: bool) -> str:
        if key.startswith("lead:"):
            return "lead"
        if sold:
            return "purchase"
        family = [r for r in self._reports if subscription and _text(r, "subscription") == subscription]
        first_money = min((r.event_time for r in family if _amount(r) > 0), default=FOREVER)
        started_free = any(
            _amount(r) == 0 and r.event_name in ("purchase", "subscription_first_invoice") for r in family
        )
        if started_free and at <= first_money:
            return "purchase"
        names = {r.event_name for r in reports}
        if "subscription_renewal" in names:
            return "renewal"
        later = bool(family) and at > first_money and "subscription_first_invoice" not in names
        return "renewal" if later else "purchase"

    def _refunded(self, key: str, currency: str) -> Decimal:
        """A refund tells of itself, or its charge tells how much of it went back so far."""
        refunds: dict[str, Decimal] = {}
        charges: dict[str, tuple[int, Decimal]] = {}
        failed = set()
        for e in self._money_back.get(key, ()):
            if e.event_type != "refund" or e.currency != currency:
                continue
            refund = _text(e, "refund")
            if refund:
                refunds[refund] = _number(e, "amount")
            else:
                charge, told = _text(e, "charge"), (e.event_time, _number(e, "amount_refunded"))
                charges[charge] = max(told, charges.get(charge, told))
            if e.event_name == "refund_failed":
                failed.add(refund)
        of_refunds = [amount for refund, amount in refunds.items() if refund not in failed]
        return sum(of_refunds, Decimal(0)) + sum((amount for _, amount in charges.values()), Decimal(0))

    def _charged_back(self, key: str, currency: str) -> Decimal:
        """Of each dispute the last word on its money counts."""
        words: dict[str, list[tuple[int, bool, str, Decimal]]] = {}
        for e in self._money_back.get(key, ()):
            if e.event_type == "chargeback" and e.currency == currency:
                verdict = _text(e, "status") if e.event_name == "chargeback_closed" else ""
                away = e.event_name == "chargeback" or verdict == "lost"
                back = e.event_name == "chargeback_reversed" or verdict == "won"
                if away or back:
                    word = (e.event_time, back, e.event_id, _number(e, "amount"))
                    words.setdefault(_text(e, "dispute"), []).append(word)
        last = [max(of_one) for of_one in words.values()]
        return sum((amount for _, back, _, amount in last if not back), Decimal(0))


def _is_report(e: Event) -> bool:
    """Whether it tells of a sale or lead. What links ids does not; a bot makes no leads."""
    if not e.conversion_key or e.event_type in MONEY_BACK or e.event_name == "invoice_payment_linked":
        return False
    return not (e.event_type == "lead" and e.is_bot)


def _amount(e: Event) -> Decimal:
    """What was paid. A first invoice keeps it apart, because it may be the session's; a lead is worth nothing."""
    if e.event_type == "lead":
        return Decimal(0)
    return _number(e, "amount") if e.event_name == "subscription_first_invoice" else e.revenue


def _first(reports: Iterable[Event], name: str) -> str:
    return next((value for r in reports if (value := getattr(r, name))), "")


def _text(e: Event, name: str) -> str:
    return str(e.properties.get(name, ""))


def _number(e: Event, name: str) -> Decimal:
    return Decimal(_text(e, name) or 0)
