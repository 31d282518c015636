"""One payment is one conversion, whichever way a client uses Stripe: named cases; the oracle has the mixtures."""

from __future__ import annotations

import itertools
import time
from decimal import Decimal
from typing import Any

import pytest

from relo_ingest._fast import ulid
from support.processes import eventually
from support.stripe_events import (
    charge_refunded,
    dispute_event,
    invoice_paid,
    invoice_payment_paid,
    price,
    refund_event,
    session_event,
    subscription_event,
    subscription_items,
)

Shop = Any  # of conftest.py, which cannot be imported

BOTH = pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
PAST = int(time.time()) - 40 * 86_400
"""Long enough ago for a first invoice to count."""


def ids(*kinds: str) -> list[str]:
    unique = ulid.new()
    return [f"{kind}_{unique}" for kind in kinds]


def invoice_and_payment(old: bool, reason: str, invoice: str, intent: str, **changes: Any) -> list[dict[str, Any]]:
    """An invoice, and what joins it to its payment intent, in either shape."""
    if old:
        return [invoice_paid(reason, old=True, id=invoice, payment_intent=intent, **changes)]
    return [invoice_paid(reason, id=invoice, **changes), invoice_payment_paid(invoice, intent)]


def becomes(shop: Shop, key: str, **expected: Any) -> dict[str, Any]:
    """The conversion, once it is so."""

    def check() -> dict[str, Any] | None:
        found: list[dict[str, Any]] = shop.now("conversions", conversion_key=key)
        return found[0] if len(found) == 1 and {k: found[0][k] for k in expected} == expected else None

    try:
        row: dict[str, Any] = eventually(check, f"{key} becomes {expected}")
    except AssertionError:
        assert [{k: r[k] for k in expected} for r in shop.now("conversions", conversion_key=key)] == [expected]
        raise
    return row


@BOTH
def test_one_time_checkout_with_invoice_creation_counts_once(shop: Shop, old: bool) -> None:
    cs, pi, inv = ids("cs", "pi", "in")
    session = session_event(old=old, id=cs, payment_intent=pi, invoice=inv)
    shop.send(session, *invoice_and_payment(old, "manual", inv, pi, amount_paid=10_000))
    becomes(shop, inv, revenue=100, kind="purchase", order_id=cs, merged_keys=[])
    assert shop.now("conversions", conversion_key=pi) == []


@BOTH
def test_session_that_did_not_know_its_invoice_joins_it_when_the_link_arrives(shop: Shop, old: bool) -> None:
    cs, pi, inv = ids("cs", "pi", "in")
    shop.send(session_event(old=old, id=cs, payment_intent=pi, metadata={"relo_click_id": "C1"}))
    becomes(shop, pi, revenue=100, order_id=cs)
    shop.send(*invoice_and_payment(old, "manual", inv, pi, amount_paid=10_000))
    becomes(shop, inv, revenue=100, order_id=cs, click_id="C1", merged_keys=[pi])
    assert shop.now("conversions", conversion_key=pi) == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=lambda o: "".join(map(str, o)))
def test_any_order_of_session_invoice_link_and_refund_is_one_conversion(shop: Shop, order: tuple[int, ...]) -> None:
    cs, pi, inv, ch, re = ids("cs", "pi", "in", "ch", "re")
    events = [
        session_event(id=cs, payment_intent=pi),
        invoice_paid("manual", id=inv, amount_paid=10_000),
        invoice_payment_paid(inv, pi),
        refund_event(id=re, charge=ch, payment_intent=pi, amount=2_500),
    ]
    for n in order:
        shop.post(events[n])
    becomes(shop, inv, revenue=100, refunded=25, charged_back=0)
    assert shop.now("conversions", conversion_key=pi) == []


@BOTH
def test_subscription_through_checkout_counts_by_its_session(shop: Shop, old: bool) -> None:
    cs, pi, inv, sub = ids("cs", "pi", "in", "sub")
    first = invoice_and_payment(old, "subscription_create", inv, pi, subscription=sub, amount_paid=10_000)
    shop.send(*first)
    assert shop.now("conversions", conversion_key=inv) == []
    shop.send(session_event(old=old, id=cs, mode="subscription", invoice=inv, payment_intent=None, subscription=sub))
    becomes(shop, inv, revenue=100, kind="purchase", order_id=cs, subscription=sub)


@BOTH
def test_elements_subscription_without_a_session_counts_by_its_first_invoice(shop: Shop, old: bool) -> None:
    pi, inv, young, sub = ids("pi", "in", "in_young", "sub")
    shop.send(
        *invoice_and_payment(old, "subscription_create", inv, pi, subscription=sub, amount_paid=4_200, created=PAST)
    )
    becomes(shop, inv, revenue=42, kind="purchase", order_id=inv, subscription=sub)
    # One that is younger than the grace time waits for a session, and says until when.
    shop.send(invoice_paid("subscription_create", old=old, id=young, subscription=sub))
    (waiting,) = shop.view("payments", conversion_key=young)
    assert (waiting["counts_from"] - waiting["event_time"]).total_seconds() == 600
    assert shop.now("conversions", conversion_key=young) == []


@BOTH
def test_first_payment_after_a_trial_is_a_purchase_and_the_next_a_renewal(shop: Shop, old: bool) -> None:
    cs, first, second, third, sub = ids("cs", "in_1", "in_2", "in_3", "sub")
    trial = session_event(
        old=old,
        id=cs,
        mode="subscription",
        invoice=first,
        payment_intent=None,
        subscription=sub,
        amount_total=0,
        payment_status="no_payment_required",
        created=PAST,
    )
    at = {"subscription": sub, "amount_paid": 2_000, "old": old}
    shop.send(
        invoice_paid(id=third, created=PAST + 60 * 86_400, **at),
        invoice_paid(id=second, created=PAST + 30 * 86_400, **at),
        invoice_paid("subscription_create", id=first, created=PAST, **at | {"amount_paid": 0}),
        trial,
    )
    becomes(shop, first, revenue=0, kind="purchase")
    becomes(shop, second, revenue=20, kind="purchase")
    becomes(shop, third, revenue=20, kind="renewal")


@BOTH
def test_renewal_of_a_subscription_whose_start_nobody_saw_stays_a_renewal(shop: Shop, old: bool) -> None:
    inv, sub = ids("in", "sub")
    shop.send(invoice_paid(old=old, id=inv, subscription=sub))
    becomes(shop, inv, revenue=20, kind="renewal")


@BOTH
def test_coupon_of_100_percent_is_a_purchase_of_nothing(shop: Shop, old: bool) -> None:
    (cs,) = ids("cs")
    free = {"amount_total": 0, "payment_intent": None, "payment_status": "no_payment_required"}
    shop.send(session_event(old=old, id=cs, **free, total_details={"amount_discount": 10_000}))
    becomes(shop, cs, revenue=0, kind="purchase", currency="USD")


@BOTH
def test_trial_is_a_purchase_of_nothing(shop: Shop, old: bool) -> None:
    inv, sub = ids("in", "sub")
    free = {"amount_total": 0, "payment_intent": None, "payment_status": "no_payment_required"}
    shop.send(session_event(old=old, mode="subscription", invoice=inv, subscription=sub, **free))
    becomes(shop, inv, revenue=0, kind="purchase", subscription=sub)


@BOTH
def test_oxxo_that_pays_counts_when_it_pays(shop: Shop, old: bool) -> None:
    cs, pi = ids("cs", "pi")
    content = {"id": cs, "payment_intent": pi, "currency": "mxn", "amount_total": 59_900}
    shop.send(session_event(old=old, payment_status="unpaid", created=PAST, **content))
    assert shop.now("payments", conversion_key=pi) == []
    shop.send(session_event("async_payment_succeeded", old=old, created=PAST + 86_400, **content))
    found = becomes(shop, pi, revenue=599, currency="MXN")
    assert int(found["event_time"].timestamp()) == PAST + 86_400


@BOTH
def test_oxxo_that_expires_never_counts(shop: Shop, old: bool) -> None:
    cs, pi = ids("cs", "pi")
    content = {"id": cs, "payment_intent": pi, "currency": "mxn", "amount_total": 59_900}
    shop.send(
        session_event(old=old, payment_status="unpaid", created=PAST, **content),
        session_event("async_payment_failed", old=old, created=PAST + 86_400, **content),
        session_event(old=old, id=f"{cs}_other", payment_intent=f"{pi}_other"),
    )
    becomes(shop, f"{pi}_other", revenue=100)
    assert shop.now("payments", conversion_key=pi) == shop.now("payments", conversion_key=cs) == []


@BOTH
def test_refund_told_in_every_way_counts_once(shop: Shop, old: bool) -> None:
    pi, ch, re = ids("pi", "ch", "re")
    of = {"charge": ch, "payment_intent": pi, "amount": 3_000}
    whole = charge_refunded(old=old, id=ch, payment_intent=pi, amount_refunded=3_000)
    events = [
        whole,
        refund_event(old=old, id=re, status="pending", **of),
        refund_event("updated", old=old, id=re, **of),
        session_event(old=old, payment_intent=pi),
    ]
    shop.send(*events)
    shop.send(*events)
    becomes(shop, pi, revenue=100, refunded=30)


@BOTH
def test_refund_that_fails_gives_the_money_back(shop: Shop, old: bool) -> None:
    pi, ch, re = ids("pi", "ch", "re")
    of = {"charge": ch, "payment_intent": pi}
    shop.send(
        refund_event("failed", old=old, id=re, amount=3_000, created=PAST + 500, made=PAST, **of),
        session_event(old=old, payment_intent=pi, created=PAST - 100),
        refund_event(old=old, id=re, amount=3_000, created=PAST, **of),
        charge_refunded(old=old, id=ch, payment_intent=pi, amount_refunded=3_000, created=PAST),
    )
    becomes(shop, pi, revenue=100, refunded=0)
    shop.send(refund_event(old=old, id=f"{re}_2", amount=1_000, created=PAST + 600, **of))
    becomes(shop, pi, revenue=100, refunded=10)


@BOTH
def test_refunds_known_by_their_charge_alone_are_cumulative(shop: Shop, old: bool) -> None:
    pi, ch = ids("pi", "ch")
    at = {"old": old, "id": ch, "payment_intent": pi}
    shop.send(
        charge_refunded(amount_refunded=5_500, created=PAST + 9, previous={"amount_refunded": 2_000}, **at),
        charge_refunded(amount_refunded=2_000, created=PAST + 5, previous={"amount_refunded": 0}, **at),
        session_event(old=old, payment_intent=pi, created=PAST),
    )
    becomes(shop, pi, refunded=55)


def test_refund_that_names_only_its_charge_joins_when_the_links_arrive(shop: Shop) -> None:
    pi, ch, re, inv, sub = ids("pi", "ch", "re", "in", "sub")
    shop.send(
        refund_event(id=re, charge=ch, payment_intent=None, amount=500),
        invoice_paid(id=inv, subscription=sub),
    )
    becomes(shop, inv, revenue=20, refunded=0)
    shop.send(invoice_payment_paid(inv, pi))
    shop.send(dispute_event(charge=ch, payment_intent=pi))  # this says whose the charge is
    becomes(shop, inv, revenue=20, refunded=5)


@BOTH
def test_dispute_won_brings_the_money_back_and_lost_does_not(shop: Shop, old: bool) -> None:
    for verdict, expected in (("won", 0), ("lost", 40)):
        pi, ch, dp = ids("pi", "ch", "dp")
        of = {"old": old, "id": dp, "charge": ch, "payment_intent": pi, "amount": 4_000}
        events = [
            dispute_event("closed", created=PAST + 9, status=verdict, **of),
            dispute_event("funds_withdrawn", created=PAST + 1, **of),
            session_event(old=old, payment_intent=pi, created=PAST - 9),
            dispute_event(created=PAST + 1, **of),
        ]
        if verdict == "won":
            events.insert(0, dispute_event("funds_reinstated", created=PAST + 9, status="won", **of))
        shop.send(*events)
        becomes(shop, pi, revenue=100, refunded=0, charged_back=expected)
        (payment,) = shop.view("payments", conversion_key=pi)
        assert (payment["withdrawn"], payment["reinstated"]) == (40, 40 - expected)


@BOTH
def test_inquiry_that_is_closed_moves_nothing(shop: Shop, old: bool) -> None:
    pi, dp = ids("pi", "dp")
    shop.send(
        session_event(old=old, payment_intent=pi),
        dispute_event(old=old, id=dp, payment_intent=pi),
        dispute_event("closed", old=old, id=dp, payment_intent=pi, status="warning_closed"),
    )
    becomes(shop, pi, revenue=100, charged_back=0)


def test_money_back_in_another_currency_is_kept_apart(shop: Shop) -> None:
    (pi,) = ids("pi")
    shop.send(session_event(payment_intent=pi), refund_event(payment_intent=pi, currency="eur", amount=900))
    becomes(shop, pi, revenue=100, refunded=0)
    (total,) = shop.view("reversal_totals", conversion_key=pi)
    assert (total["currency"], total["refunded"]) == ("EUR", 9)


@BOTH
def test_payments_of_one_subscription_stay_apart(shop: Shop, old: bool) -> None:
    sub, *invoices = ids("sub", "in_1", "in_2", "in_3")
    for n, inv in enumerate(invoices):
        amount = 1_000 * (n + 1)
        shop.send(
            *invoice_and_payment(old, "subscription_cycle", inv, f"pi_{inv}", subscription=sub, amount_paid=amount)
        )
    shop.send(refund_event(old=old, payment_intent=f"pi_{invoices[1]}", amount=300))
    for inv, revenue, refunded in zip(invoices, (10, 20, 30), (0, 3, 0), strict=True):
        becomes(shop, inv, revenue=revenue, refunded=refunded, subscription=sub)


def test_money_beyond_31_bits_is_exact(shop: Shop) -> None:
    (pi,) = ids("pi")
    amount = 9_999_999_999_999
    shop.send(
        session_event(payment_intent=pi, currency="idr", amount_total=amount),
        refund_event(payment_intent=pi, currency="idr", amount=amount - 1),
    )
    becomes(shop, pi, revenue=Decimal("99999999999.99"), refunded=Decimal("99999999999.98"), currency="IDR")


def test_subscriptions_are_shown_as_they_are_now(shop: Shop) -> None:
    sub, gone, never = ids("sub", "sub_gone", "sub_never")
    start = 1_560_000_000  # 2019-06-08: nobody else here subscribed then
    at = {"id": sub, "start_date": start}
    shop.send(
        subscription_event("updated", created=start + 50, previous={"items": subscription_items(price(2_000))}, **at)
        | {"id": f"evt_{ulid.new()}"},
        subscription_event(created=start, status="trialing", **at),
        subscription_event(created=start, id=gone, start_date=start),
        subscription_event(
            "deleted", created=start + 70 * 86_400, id=gone, start_date=start, ended_at=start + 70 * 86_400
        ),
        subscription_event(created=start, id=never, start_date=start, status="incomplete"),
        subscription_event(
            "updated", created=start + 9, id=never, start_date=start, status="incomplete_expired", previous={}
        ),
    )
    (found,) = shop.view("subscriptions", subscription=sub)
    assert (found["status"], found["is_active"], found["amount"], found["interval"]) == ("active", True, 20, "month")
    assert [r["subscription"] for r in shop.view("active_subscriptions", subscription=sub)] == [sub]
    (ended,) = eventually(
        lambda: [r for r in shop.now("subscriptions", subscription=gone) if not r["is_active"]], "gone"
    )
    assert int(ended["ended_at"].timestamp()) == start + 70 * 86_400
    assert shop.now("active_subscriptions", subscription=gone) == []
    churn = {r["month"].isoformat(): r for r in shop.view("churn_monthly", partner_ref="") if r["month"].year == 2019}
    assert [(m, churn[m]["active_at_start"], churn[m]["started"], churn[m]["churned"]) for m in sorted(churn)[:4]] == [
        ("2019-06-01", 0, 2, 0),
        ("2019-07-01", 2, 0, 0),
        ("2019-08-01", 2, 0, 1),
        ("2019-09-01", 1, 0, 0),
    ]
