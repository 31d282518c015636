"""What was really paid, against what ClickHouse says.

A model in plain Python lives through histories of customers: checkouts, trials, renewals, upgrades, refunds, disputes,
payments that come late or never. What happened to the money stands in ``Paid``; what Stripe would have told of it is a
list of events, in the shapes of one API version. The events are shuffled, repeated and delayed, and sent over HTTP.

RELO_ORACLE_HISTORIES sets how many (`make oracle` tries many thousands), RELO_ORACLE_SEED which.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from relo_ingest._fast import ulid
from support.processes import eventually
from support.stripe_events import (
    charge_refunded,
    dispute_event,
    invoice_paid,
    invoice_payment_paid,
    refund_event,
    session_event,
    signed,
    subscription_event,
)

Shop = Any  # of conftest.py, which cannot be imported

HISTORIES = int(os.environ.get("RELO_ORACLE_HISTORIES", "300"))
SEED = int(os.environ.get("RELO_ORACLE_SEED", "4"))
AT_ONCE = 32
DAY = 86_400
MINOR = {"usd": 100, "eur": 100, "mxn": 100, "idr": 100, "jpy": 1, "clp": 1, "kwd": 1000, "isk": 100}
TELLINGS = ("refunds", "charges", "both")
"""Which events of refunds an endpoint is subscribed to."""


class Paid:
    """What became of one payment, in minor units."""

    def __init__(self, key: str, kind: str, amount: int, at: int) -> None:
        self.key, self.kind, self.amount, self.at = key, kind, amount, at
        self.refunded = self.charged_back = 0


class History:
    """One customer. ``paid`` is the truth, ``events`` what Stripe tells of it."""

    def __init__(self, chance: random.Random, number: int, run: str) -> None:
        self.chance = chance
        self.customer = f"cus_{run}_{number}"
        self.tag = f"{run}x{number}"
        self.old = chance.random() < 0.5
        self.telling = chance.choice(TELLINGS)
        self.currency = chance.choice(list(MINOR))
        self.now = int(time.time()) - chance.randrange(150 * DAY, 300 * DAY)
        self.paid: list[Paid] = []
        self.events: list[dict[str, Any]] = []
        self._ids = 0
        chance.choice((self._one_time, self._one_time_with_invoice, self._late, self._subscription, self._elements))()

    def _id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}_{self.tag}x{self._ids}"

    def _amount(self) -> int:
        return self.chance.choice((1, 99, 1_999, 10_000, 123_456, 2**31 + 7, self.chance.randrange(1, 10**7)))

    def _wait(self, longest: int = 2 * DAY) -> int:
        """Time passes, sometimes less than a second."""
        self.now += self.chance.choice((0, 1, self.chance.randrange(1, longest)))
        return self.now

    def _tell(self, event: dict[str, Any]) -> None:
        event["created"] = self.now
        self.events.append(event)

    def _soon(self) -> None:
        """Reports of one moment are stamped in any order within seconds."""
        self.now += self.chance.randrange(3)

    def _session(self, happened: str = "completed", **changes: Any) -> None:
        content = {"customer": self.customer, "currency": self.currency, **changes}
        self._tell(session_event(happened, old=self.old, **content))

    def _invoice(
        self, invoice: str, intent: str, charge: str, amount: int, reason: str, subscription: str = ""
    ) -> None:
        """An invoice is paid, and what paid it is told with it (old) or apart from it (new)."""
        content: dict[str, Any] = {"id": invoice, "customer": self.customer, "currency": self.currency}
        content |= {"amount_paid": amount, "subscription": subscription}
        if self.old and amount:
            content |= {"payment_intent": intent, "charge": charge}
        told = [invoice_paid(reason, old=self.old, **content)]
        if not self.old and amount:
            told.append(invoice_payment_paid(invoice, intent, currency=self.currency, amount_paid=amount))
        self.chance.shuffle(told)
        for event in told:
            self._tell(event)
            self._soon()

    # Ways to pay

    def _one_time(self) -> None:
        session, intent, charge, amount = self._id("cs"), self._id("pi"), self._id("ch"), self._amount()
        if self.chance.random() < 0.1:
            self._session(id=session, payment_intent=None, amount_total=0, payment_status="no_payment_required")
            self.paid.append(Paid(session, "purchase", 0, self.now))
            return
        self._session(id=session, payment_intent=intent, amount_total=amount)
        self._after(Paid(intent, "purchase", amount, self.now), intent, charge, invoice=None)

    def _one_time_with_invoice(self) -> None:
        """The session may not know its invoice yet; an invoice payment, or the old invoice, joins them."""
        session, intent, charge, amount = self._id("cs"), self._id("pi"), self._id("ch"), self._amount()
        invoice, at = self._id("in"), self.now
        known = self.chance.random() < 0.7
        self._session(id=session, payment_intent=intent, amount_total=amount, invoice=invoice if known else None)
        self._soon()
        self._invoice(invoice, intent, charge, amount, "manual")
        self._after(Paid(invoice, "purchase", amount, at), intent, charge, invoice)

    def _late(self) -> None:
        """OXXO, SPEI, bank debits: completed unpaid, and paid days later or never."""
        session, intent, charge, amount = self._id("cs"), self._id("pi"), self._id("ch"), self._amount()
        content: dict[str, Any] = {"id": session, "payment_intent": intent, "amount_total": amount}
        self._session(**content, payment_status="unpaid")
        self._wait()
        if self.chance.random() < 0.4:
            self._session("async_payment_failed", **content)
            return
        self._session("async_payment_succeeded", **content)
        self._after(Paid(intent, "purchase", amount, self.now), intent, charge, invoice=None)

    def _subscription(self) -> None:
        """Through Checkout; perhaps with a trial or a coupon that pays all of the first invoice."""
        free = self.chance.random() < 0.4
        session, invoice, subscription = self._id("cs"), self._id("in"), self._id("sub")
        intent, charge, amount = self._id("pi"), self._id("ch"), 0 if free else self._amount()
        at = self.now
        self._session(
            id=session,
            mode="subscription",
            invoice=invoice,
            payment_intent=None,
            subscription=subscription,
            amount_total=amount,
            payment_status=self.chance.choice(("paid", "no_payment_required")) if free else "paid",
        )
        self._soon()
        self._invoice(invoice, intent, charge, amount, "subscription_create", subscription)
        self._lives_on(Paid(invoice, "purchase", amount, at), subscription, intent, charge)

    def _elements(self) -> None:
        """Without Checkout: the first invoice is all there is."""
        invoice, subscription, intent, charge = self._id("in"), self._id("sub"), self._id("pi"), self._id("ch")
        amount = 0 if self.chance.random() < 0.3 else self._amount()
        first = len(self.events)
        self._invoice(invoice, intent, charge, amount, "subscription_create", subscription)
        at = next(e["created"] for e in self.events[first:] if e["type"] == "invoice.paid")
        self._lives_on(Paid(invoice, "purchase", amount, at), subscription, intent, charge)

    def _lives_on(self, start: Paid, subscription: str, intent: str, charge: str) -> None:
        self._tell(subscription_event(old=self.old, id=subscription, customer=self.customer, currency=self.currency))
        self._after(start, intent, charge, start.key)
        money_before = start.amount > 0
        for _ in range(self.chance.randrange(4)):
            self.now += self.chance.randrange(1, 30 * DAY)
            invoice, intent, charge, amount = self._id("in"), self._id("pi"), self._id("ch"), self._amount()
            # An upgrade is invoiced at once, for the rest of the period; it takes money paid before to have one.
            upgrade = money_before and self.chance.random() < 0.3
            if upgrade:
                self._tell(
                    subscription_event("updated", old=self.old, id=subscription, customer=self.customer, previous={})
                )
            first = len(self.events)
            reason = "subscription_update" if upgrade else "subscription_cycle"
            self._invoice(invoice, intent, charge, amount, reason, subscription)
            at = next(e["created"] for e in self.events[first:] if e["type"] == "invoice.paid")
            self._after(Paid(invoice, "renewal" if money_before else "purchase", amount, at), intent, charge, invoice)
            money_before = True

    # What may follow

    def _after(self, paid: Paid, intent: str, charge: str, invoice: str | None) -> None:
        self.paid.append(paid)
        if not paid.amount:
            return
        what = self.chance.random()
        if what < 0.35:
            self._refunds(paid, intent, charge, invoice)
        elif what < 0.5:
            self._dispute(paid, intent, charge)

    def _refunds(self, paid: Paid, intent: str, charge: str, invoice: str | None) -> None:
        about = {"currency": self.currency}
        # A refund names the charge, the payment intent, or both.
        named = self.chance.choice(
            ({"charge": charge, "payment_intent": intent}, {"charge": charge, "payment_intent": None})
        )
        if self.telling == "refunds" and self.chance.random() < 0.7:
            named = {"charge": charge, "payment_intent": intent}
        elif self.telling == "refunds":
            named = {"charge": None, "payment_intent": intent}
        for _ in range(self.chance.randrange(1, 4)):
            left = paid.amount - paid.refunded
            if not left:
                return
            amount = left if self.chance.random() < 0.3 else self.chance.randrange(1, left + 1)
            self._wait()
            refund, made = self._id("re"), self.now
            content = about | named | {"id": refund, "amount": amount, "made": made}
            paid.refunded += amount
            if self.telling != "charges":
                self._tell(refund_event(old=self.old, status=self.chance.choice(("succeeded", "pending")), **content))
            if self.telling != "refunds":
                self._soon()
                all_of_it = {"id": charge, "payment_intent": intent, "amount": paid.amount, **about}
                all_of_it |= {"amount_refunded": paid.refunded, "previous": {"amount_refunded": paid.refunded - amount}}
                self._tell(charge_refunded(old=self.old, invoice=invoice, **all_of_it))
            if self.telling != "charges" and self.chance.random() < 0.3:
                self._wait()
                if self.chance.random() < 0.5:
                    self._tell(refund_event("updated", old=self.old, status="succeeded", **content))
                else:
                    happened = self.chance.choice(("failed", "updated"))
                    self._tell(refund_event(happened, old=self.old, **content | {"status": "failed"}))
                    paid.refunded -= amount

    def _dispute(self, paid: Paid, intent: str, charge: str) -> None:
        amount = paid.amount if self.chance.random() < 0.7 else self.chance.randrange(1, paid.amount + 1)
        content = {"id": self._id("dp"), "amount": amount, "charge": charge, "currency": self.currency}
        content["payment_intent"] = self.chance.choice((intent, intent, None))
        if content["payment_intent"] is None and self.telling != "both":
            content["payment_intent"] = intent  # or nothing at all would tell whose the charge is
        if content["payment_intent"] is None:
            # What tells: another event of the same charge.
            about = {"id": charge, "payment_intent": intent, "currency": self.currency, "amount_refunded": 0}
            self._tell(charge_refunded(old=False, **about))
        self._wait()
        self._tell(dispute_event(old=self.old, **content))
        if self.chance.random() < 0.2:
            self._tell(dispute_event("closed", old=self.old, status="warning_closed", **content))
            return
        self._soon()
        self._tell(dispute_event("funds_withdrawn", old=self.old, **content))
        paid.charged_back = amount
        self._wait()
        verdict = self.chance.choice(("won", "lost", "open"))
        if verdict == "won":
            self._tell(dispute_event("funds_reinstated", old=self.old, status="won", **content))
            paid.charged_back = 0
        if verdict != "open":
            self._soon()
            self._tell(dispute_event("closed", old=self.old, status=verdict, **content))

    def expected(self) -> list[tuple[Any, ...]]:
        whole = MINOR[self.currency]
        return [
            (
                p.key,
                p.kind,
                self.currency.upper(),
                Decimal(p.amount) / whole,
                Decimal(p.refunded) / whole,
                Decimal(p.charged_back) / whole,
                dt.datetime.fromtimestamp(p.at, dt.UTC).replace(tzinfo=None),
                self.customer,
            )
            for p in self.paid
        ]


FOUND = """
SELECT conversion_key, kind, currency, revenue, refunded, charged_back, event_time, customer_ref
FROM conversions WHERE startsWith(customer_ref, {customer:String}) ORDER BY conversion_key
"""
SUMS = """
SELECT {by}, currency, sum(revenue), sum(refunded), sum(charged_back)
FROM conversions WHERE startsWith(customer_ref, {{customer:String}}) GROUP BY ALL
"""


def deliveries(histories: list[History], chance: random.Random) -> list[dict[str, Any]]:
    """All events, in no order; some come twice or three times, some long after the others."""
    events = [event for history in histories for event in history.events]
    sent = events + chance.choices(events, k=len(events) // 3)
    chance.shuffle(sent)
    return sent


async def deliver(url: str, events: list[dict[str, Any]]) -> None:
    todo = iter(events)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:

        async def sender() -> None:
            for event in todo:
                webhook = signed(event)
                async with http.post(url, data=webhook["content"], headers=webhook["headers"]) as answer:
                    assert answer.status == 200, await answer.text()

        await asyncio.gather(*(sender() for _ in range(AT_ONCE)))


def by(index: int | None, expected: list[tuple[Any, ...]]) -> dict[Any, tuple[Decimal, ...]]:
    """Sums by customer, or by day where ``index`` is None, and currency."""
    sums: dict[Any, Any] = {}
    for row in expected:
        key = (row[6].date() if index is None else row[index], row[2])
        sums.setdefault(key, Counter()).update(revenue=row[3], refunded=row[4], charged_back=row[5])
    return {k: (v["revenue"], v["refunded"], v["charged_back"]) for k, v in sums.items()}


@pytest.mark.timeout(600 + HISTORIES)
def test_every_payment_is_right_whatever_the_order_and_repetition_of_its_events(shop: Shop) -> None:
    chance = random.Random(SEED)
    run = f"o{ulid.new()}"
    histories = [History(chance, n, run) for n in range(HISTORIES)]
    expected = sorted(row for h in histories for row in h.expected())
    sent = deliveries(histories, chance)
    asyncio.run(deliver(f"{shop.product.base_url}/postback/stripe/demo", sent))

    distinct = len({e["id"] for e in sent})
    ids = [e["id"] for e in sent]
    there = "SELECT uniqExact(event_id) FROM events WHERE event_id IN {ids:Array(String)}"
    eventually(
        lambda: (
            sum(shop.product.rows(there, ids=ids[n : n + 1000])[0][0] for n in range(0, len(ids), 1000)) >= distinct
        ),
        "all events are stored",
    )
    customer = f"cus_{run}_"
    found: list[tuple[Any, ...]] = []

    def settled() -> bool:
        found[:] = [(*r[:6], r[6].replace(tzinfo=None), r[7]) for r in shop.product.rows(FOUND, customer=customer)]
        return found == expected

    try:
        eventually(settled, "conversions are what was paid")
    except AssertionError:
        wrong = sorted({r[0] for r in set(found) ^ set(expected)})
        assert [r for r in found if r[0] in wrong[:5]] == [r for r in expected if r[0] in wrong[:5]], len(wrong)
        raise
    for column, index in (("customer_ref", 7), ("toDate(event_time)", None)):
        sums = shop.product.rows(SUMS.format(by=column), customer=customer)
        assert {(key, currency): tuple(money) for key, currency, *money in sums} == by(index, expected)
