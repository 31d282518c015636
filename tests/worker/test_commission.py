"""What partners earn: `commission.sql` on a real engine, with Decimal as the oracle."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

MS = dt.timedelta(milliseconds=1)
Story = Any  # of conftest.py, which cannot be imported


def sell(story: Story, *payments: dict[str, Any], partner: str = "ana", offer: str = "main") -> None:
    """A click of the partner, and payments that name it."""
    click = f"click-{partner}-{offer}"
    story.insert(story.a_click(click, partner, -50, offer), *({"click_id": click} | p for p in payments))


def earned(story: Story) -> dict[str, tuple[str, Decimal]]:
    """(rule, amount) by conversion, after a round; every conversion at most once."""
    story.settle()
    entries = story.ledger()
    found = {e.conversion_key: (e.rule, e.amount) for e in entries}
    assert len(found) == len(entries)
    return found


def test_percent_of_the_payment_becomes_an_accrual(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1", -3, "19.99", currency="EUR"))
    story.settle()
    [entry] = story.ledger()
    assert (entry.kind, entry.partner_ref, entry.amount, entry.currency, entry.rule) == (
        "accrual",
        story.ref("ana"),
        Decimal("2.00"),
        "EUR",
        "ten",
    )
    assert entry.reason["cause"] == "commission for a first payment"
    assert {k: entry.reason[k] for k in ("payment", "revenue", "basis_points", "exact")} == {
        "payment": "first",
        "revenue": "19.99 EUR",
        "basis_points": "1000",
        "exact": "1.999",
    }


def test_hold_ends_the_offers_hold_days_after_the_payment(story: Story) -> None:
    story.declare(offers=[story.of_client(slug="fast", landing_page="https://x.test/", hold_days=3)])
    story.partner("ana", offers=("main", "fast"))
    for offer in ("main", "fast"):
        story.rule(f"of-{offer}", 1000, offer=offer)
        sell(story, story.a_payment(offer, -4), offer=offer)
    story.settle()
    assert {e.conversion_key: e.hold_until.replace(tzinfo=dt.UTC) - story.time(-4) for e in story.ledger()} == {
        "main": dt.timedelta(days=30),
        "fast": dt.timedelta(days=3),
    }


def test_partners_own_rule_comes_before_the_offers(story: Story) -> None:
    story.rule("own", 2000, partner="ana")
    story.rule("all", 1000, valid_from="2020-01-01T00:00:00Z")
    sell(story, story.a_payment("of-ana"), partner="ana")
    sell(story, story.a_payment("of-bo"), partner="bo")
    assert earned(story) == {"of-ana": ("own", Decimal(4)), "of-bo": ("all", Decimal(2))}


def test_rule_of_another_partner_offer_or_client_does_not_apply(story: Story, another_story: Story) -> None:
    story.declare(offers=[story.of_client(slug="side", landing_page="https://x.test/")])
    story.rule("of-bo", 1000, partner="bo")
    story.rule("of-side", 1000, offer="side")
    another_story.rule("of-another", 1000)
    sell(story, story.a_payment("pi_1"))
    assert earned(story) == {}
    assert story.attributions()["pi_1"].method == "click_id"


def test_rule_applies_from_its_beginning_to_before_its_end(story: Story) -> None:
    start, end = story.time(-20), story.time(-10)
    story.rule("summer", 1000, valid_from=start.isoformat(), valid_to=end.isoformat())
    moments = {"before": start - MS, "first": start, "last": end - MS, "after": end}
    sell(story, *(story.a_payment(key, at) for key, at in moments.items()))
    assert earned(story) == {"first": ("summer", Decimal(2)), "last": ("summer", Decimal(2))}


def test_validity_may_be_given_in_any_time_zone(story: Story) -> None:
    start = story.time(-20)
    elsewhere = start.astimezone(dt.timezone(dt.timedelta(hours=-6))).isoformat()
    story.rule("west", 1000, valid_from=elsewhere)
    sell(story, story.a_payment("before", start - MS), story.a_payment("first", start))
    assert earned(story) == {"first": ("west", Decimal(2))}


def test_of_two_rules_in_force_the_younger_applies(story: Story) -> None:
    story.rule("b-old", 1000, valid_from=story.time(-30).isoformat())
    story.rule("a-older", 3000, valid_from=story.time(-40).isoformat())
    story.rule("c-young", 2000, valid_from=story.time(-20).isoformat())
    sell(story, story.a_payment("now", -1), story.a_payment("then", -25))
    assert earned(story) == {"now": ("c-young", Decimal(4)), "then": ("b-old", Decimal(2))}


def test_first_payments_and_renewals_have_rules_of_their_own(story: Story) -> None:
    story.rule("first", 1500, applies_to=["first"])
    story.rule("renewal", 500, applies_to=["renewal"])
    sell(
        story,
        story.a_payment("in_1", -3, customer_ref="cus_1"),
        story.a_payment("in_2", -2, event_type="custom", event_name="subscription_renewal", customer_ref="cus_1"),
    )
    assert earned(story) == {"in_1": ("first", Decimal(3)), "in_2": ("renewal", Decimal(1))}


def test_first_is_what_is_known_of_the_customer_whatever_the_invoice_says(story: Story) -> None:
    story.rule("first", 1500, applies_to=["first"])
    story.rule("renewal", 500, applies_to=["renewal"])
    cycle = {"event_type": "custom", "event_name": "subscription_renewal", "customer_ref": "cus_1"}
    sell(story, story.a_payment("in_2", -2, **cycle))
    assert earned(story) == {"in_2": ("first", Decimal(3))}
    sell(story, story.a_payment("in_1", -3, customer_ref="cus_1"))
    story.settle()
    totals: dict[str, Decimal] = {}
    for entry in story.ledger():
        totals[entry.conversion_key] = totals.get(entry.conversion_key, Decimal(0)) + entry.amount
    assert totals == {"in_1": 3, "in_2": 1}


def test_renewal_without_a_rule_earns_nothing(story: Story) -> None:
    story.rule("first", 1500, applies_to=["first"])
    sell(
        story,
        story.a_payment("in_1", -3, customer_ref="cus_1"),
        story.a_payment("in_2", event_type="custom", event_name="subscription_renewal", customer_ref="cus_1"),
    )
    assert earned(story) == {"in_1": ("first", Decimal(3))}


def test_rule_that_comes_later_is_applied_then(story: Story) -> None:
    sell(story, story.a_payment("pi_1"))
    assert earned(story) == {}
    story.rule("ten", 1000)
    assert earned(story) == {"pi_1": ("ten", Decimal(2))}


def test_rule_that_changes_later_changes_no_entry(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1"))
    assert earned(story) == {"pi_1": ("ten", Decimal(2))}
    before = story.results()
    story.rule("ten", 9000)
    story.settle()
    assert story.results() == before


def test_test_events_and_events_of_nobody_earn_nothing(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("test", is_test=True), story.a_payment("nobody", click_id="K404"))
    assert earned(story) == {}


def test_payment_of_nothing_is_a_trial_and_earns_no_share(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("trial", 0, "0"))
    assert earned(story) == {}
    assert story.attributions()["trial"].method == "click_id"


def test_redelivered_event_counts_once(story: Story) -> None:
    story.rule("ten", 1000)
    payment = story.a_payment("pi_1", event_id="evt_1")
    for _ in range(3):
        sell(story, payment)
    assert earned(story) == {"pi_1": ("ten", Decimal(2))}
    before = story.results()
    sell(story, payment)
    story.settle()
    assert story.results() == before


def test_session_and_invoice_of_one_payment_count_once(story: Story) -> None:
    story.rule("ten", 1000)
    sell(
        story,
        story.a_payment("in_1", -2, event_id="evt_session", order_id="cs_1"),
        story.a_payment("in_1", -2, event_id="evt_invoice", order_id="in_1", event_name="invoice_payment"),
        story.a_payment("in_1", -2, "0", event_id="evt_first", event_name="subscription_first_invoice"),
    )
    assert earned(story) == {"in_1": ("ten", Decimal(2))}
    assert len(story.attributions()) == 1


def test_commission_goes_along_when_a_payment_turns_out_to_be_an_invoices(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1", -2, refs=["cs_1", "pi_1"], order_id="cs_1"))
    assert earned(story) == {"pi_1": ("ten", Decimal(2))}
    linked = {
        "event_type": "custom",
        "event_name": "invoice_payment_linked",
        "conversion_key": "in_1",
        "refs": ["in_1", "pi_1"],
    }
    story.insert(linked)
    conversions = "SELECT conversion_key, merged_keys FROM conversions WHERE client_id = {client:UInt32}"
    assert story.client.query(conversions, parameters={"client": story.client_id}).result_rows == [("in_1", ["pi_1"])]
    story.settle()
    lines = [(e.conversion_key, e.kind, e.amount) for e in sorted(story.ledger(), key=lambda e: e.created_at)]
    assert sorted(lines) == [("in_1", "accrual", 2), ("pi_1", "accrual", 2), ("pi_1", "adjustment", -2)]
    assert list(story.attributions()) == ["in_1"]


def test_same_conversion_key_at_two_clients_are_two_conversions(story: Story, another_story: Story) -> None:
    for one in (story, another_story):
        one.rule("ten", 1000)
        sell(one, one.a_payment("pi_1"))
    assert earned(story) == earned(another_story) == {"pi_1": ("ten", Decimal(2))}
    assert story.ledger()[0].entry_id != another_story.ledger()[0].entry_id


DIGITS = {"USD": 2, "EUR": 2, "MXN": 2, "IDR": 2, "JPY": 0, "CLP": 0, "KRW": 0, "ISK": 0, "UGX": 0, "KWD": 3, "TND": 3}


def test_commission_is_rounded_half_even_to_the_minor_unit(story: Story) -> None:
    chance = random.Random(9)
    rates = {"ana": 1000, "bo": 5000, "cy": 3333}
    whole = Decimal(1)
    # Of 50 and 10 percent, odd minor units end on a tie: down to even and up to even are both there.
    revenues = {
        currency: [whole.scaleb(-digits) * n for n in (0, 1, 3, 5, 7, 15, 25, 35, 45, 55, 1999, 10**13 + 5)]
        + [whole.scaleb(-digits) * chance.randrange(10**11) for _ in range(8)]
        for currency, digits in DIGITS.items()
    }
    keys = (f"pi_{n:04}" for n in itertools.count())
    expected = {}
    for partner, rate in rates.items():
        story.rule(f"of-{partner}", rate, partner=partner)
        payments = []
        for currency, amounts in revenues.items():
            for revenue in amounts:
                key = next(keys)
                payments.append(story.a_payment(key, -1, f"{revenue:f}", currency=currency))
                exact = revenue * rate / 10_000
                unit = whole.scaleb(-DIGITS[currency])
                if amount := exact.quantize(unit, ROUND_HALF_EVEN):
                    expected[key] = (f"of-{partner}", amount)
        sell(story, *payments, partner=partner)
    found = earned(story)
    assert found == expected
    assert len(found) > 500
