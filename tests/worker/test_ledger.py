"""DESIGN §9, row by row: what is earned, what goes back, and how late truth is written."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from relo_ingest._fast import digest
from relo_ingest.worker.recompute import recompute

Story = Any  # of conftest.py, which cannot be imported
RENEWAL = {"event_type": "custom", "event_name": "subscription_renewal"}


def sell(story: Story, *payments: dict[str, Any], partner: str = "ana") -> None:
    """A click of the partner, and payments that name it."""
    click = f"click-{partner}"
    story.insert(story.a_click(click, partner, -50), *({"click_id": click} | p for p in payments))


def settled(story: Story) -> dict[tuple[str, str], Decimal]:
    story.settle()
    found: dict[tuple[str, str], Decimal] = story.sums()
    return found


def test_refund_takes_its_share_of_the_commission_back(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1", -3, "20.00"))
    story.settle()
    story.insert(story.a_refund("pi_1", "5.00", -2))
    story.settle()
    story.insert(story.a_refund("pi_1", "2.55", -1))
    story.settle()
    assert story.lines() == [
        ("pi_1", "ana", "accrual", Decimal("2.00")),
        ("pi_1", "ana", "reversal", Decimal("-0.50")),
        ("pi_1", "ana", "reversal", Decimal("-0.26")),  # 2.00 * 7.55 / 20.00 = 0.755, half-even 0.76
    ]
    [*_, last] = sorted(story.ledger(), key=lambda e: e.created_at)
    assert (last.reason["cause"], last.reason["refunded"]) == ("money was refunded", "7.55")


def test_refunds_never_take_back_more_than_was_earned(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1", -3, "20.00"), story.a_refund("pi_1", "15.00"), story.a_refund("pi_1", "15.00"))
    assert settled(story) == {("pi_1", "ana"): 0}
    assert [line[2:] for line in story.lines()] == [("accrual", 2), ("reversal", -2)]


def test_refund_that_is_known_before_its_payment_counts_when_that_comes(story: Story) -> None:
    story.rule("ten", 1000)
    story.insert(story.a_refund("pi_1", "5.00", -2))
    assert settled(story) == {}
    sell(story, story.a_payment("pi_1", -3, "20.00"))
    assert settled(story) == {("pi_1", "ana"): Decimal("1.50")}


def test_refund_that_failed_gives_the_commission_again(story: Story) -> None:
    story.rule("ten", 1000)
    refund = story.a_refund("pi_1", "5.00", -2)
    sell(story, story.a_payment("pi_1", -3, "20.00"), refund)
    assert settled(story) == {("pi_1", "ana"): Decimal("1.50")}
    story.insert(refund | {"event_id": "evt_failed", "event_name": "refund_failed", "event_time": story.time(-1)})
    assert settled(story) == {("pi_1", "ana"): 2}
    assert story.lines()[-1][2:] == ("adjustment", Decimal("0.50"))


def test_dispute_takes_everything_and_a_won_one_gives_it_back(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1", -5, "20.00"), story.a_refund("pi_1", "5.00", -4))
    story.settle()
    story.insert(story.a_dispute("pi_1", "15.00", at=-3))
    story.settle()
    story.insert(story.a_dispute("pi_1", "15.00", "chargeback_reversed", at=-2))
    story.settle()
    assert [line[2:] for line in story.lines()] == [
        ("accrual", Decimal("2.00")),
        ("reversal", Decimal("-0.50")),
        ("reversal", Decimal("-1.50")),
        ("accrual", Decimal("1.50")),
    ]
    causes = [e.reason["cause"] for e in sorted(story.ledger(), key=lambda e: e.created_at)]
    assert causes[2:] == ["a dispute withdrew the money", "the dispute was won: the money came back"]


def test_fixed_amount_is_paid_per_sale_and_in_its_own_currency(story: Story) -> None:
    story.rule("five", None, fixed="5.00", currency="EUR")
    sell(story, story.a_payment("pi_1", -3, "20.00", currency="EUR"))
    assert settled(story) == {("pi_1", "ana"): 5}
    assert story.ledger()[0].currency == "EUR"


def test_minimum_and_maximum_bound_one_commission(story: Story) -> None:
    story.rule("ten", 1000, minimum="1.00", maximum="3.00", currency="USD")
    amounts = {"little": "5.00", "usual": "20.00", "much": "500.00"}
    sell(story, *(story.a_payment(key, -3, amount) for key, amount in amounts.items()))
    assert settled(story) == {("little", "ana"): 1, ("usual", "ana"): 2, ("much", "ana"): 3}


def test_net_basis_leaves_tax_and_shipping_out(story: Story) -> None:
    story.rule("net", 1000, basis="net_of_tax_and_shipping")
    sell(
        story,
        story.a_payment("pi_1", -3, "24.00", properties={"tax": "3.00", "shipping": "1.00"}),
        story.a_payment("pi_2", -3, "2.00", properties={"tax": "3.00"}),
    )
    assert settled(story) == {("pi_1", "ana"): 2}


def test_leads_and_trials_have_amounts_of_their_own(story: Story) -> None:
    story.rule("ten", 1000)
    story.rule("lead", None, fixed="1.50", currency="USD", applies_to=["lead"])
    story.rule("trial", None, fixed="3.00", currency="USD", applies_to=["trial"])
    sell(
        story,
        story.a_payment("lead:1", -3, "999.00", event_type="lead", event_name="lead"),
        story.a_payment("in_0", -3, "0", customer_ref="cus_1", properties={"subscription": "sub_1"}),
        story.a_payment("in_1", -1, "20.00", customer_ref="cus_1", properties={"subscription": "sub_1"}, **RENEWAL),
    )
    assert settled(story) == {("lead:1", "ana"): Decimal("1.50"), ("in_0", "ana"): 3, ("in_1", "ana"): 2}
    assert {k: a.payment for k, a in story.attributions().items()} == {
        "lead:1": "lead",
        "in_0": "trial",
        "in_1": "first",
    }


def test_renewals_count_for_their_months_and_a_day(story: Story) -> None:
    story.rule("first", 2000, applies_to=["first"])
    story.rule("renewal", 1000, applies_to=["renewal"], renewal_months=1)
    start = dt.datetime(2026, 1, 31, 10, tzinfo=dt.UTC)
    story.click("K1", "ana", start - dt.timedelta(days=1))
    moments = {
        "in_0": start,
        "in_1": dt.datetime(2026, 2, 28, 10, tzinfo=dt.UTC),
        "in_2": dt.datetime(2026, 3, 1, 9, 59, 59, tzinfo=dt.UTC),
        "in_3": dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC),
    }
    story.insert(
        *(
            story.a_payment(key, at, click_id="K1", customer_ref="cus_1", **({} if key == "in_0" else RENEWAL))
            for key, at in moments.items()
        )
    )
    assert settled(story) == {("in_0", "ana"): 4, ("in_1", "ana"): 2, ("in_2", "ana"): 2}


def test_tiers_count_what_the_partner_sold_before_in_the_month(story: Story) -> None:
    story.rule("steps", 1000, tiers=[{"after": 2, "basis_points": 2000}, {"after": 3, "basis_points": 3000}])
    day = dt.datetime(2026, 10, 30, tzinfo=dt.UTC)
    for partner in ("ana", "bo"):
        story.click(f"K-{partner}", partner, day)
    moments = [day + dt.timedelta(hours=12 * n) for n in range(6)]  # the fifth is on the first of November
    payments = [story.a_payment(f"p{n}", at, "10.00", click_id="K-ana") for n, at in enumerate(moments)]
    payments.append(story.a_payment("bo", moments[3], "10.00", click_id="K-bo"))
    story.insert(*payments[1:])
    assert settled(story) == {
        ("p1", "ana"): 1, ("p2", "ana"): 1, ("p3", "ana"): 2, ("p4", "ana"): 1, ("p5", "ana"): 1, ("bo", "bo"): 1,
    }  # fmt: skip
    # One that comes in late moves those after it up, by new lines.
    story.insert(payments[0])
    assert settled(story) == {
        ("p0", "ana"): 1, ("p1", "ana"): 1, ("p2", "ana"): 2, ("p3", "ana"): 3, ("p4", "ana"): 1, ("p5", "ana"): 1,
        ("bo", "bo"): 1,
    }  # fmt: skip


def test_tiers_by_revenue_count_each_currency_by_itself(story: Story) -> None:
    story.rule("steps", 1000, tier_by="revenue", tiers=[{"after": 100, "basis_points": 2000}])
    at = dt.datetime(2026, 10, 10, tzinfo=dt.UTC)
    story.click("K1", "ana", at)
    sales = [
        ("a", "60.00", "USD"),
        ("b", "60.00", "EUR"),
        ("c", "40.00", "USD"),
        ("d", "10.00", "USD"),
        ("e", "10.00", "EUR"),
    ]
    story.insert(
        *(
            story.a_payment(key, at + dt.timedelta(hours=n), revenue, currency=currency, click_id="K1")
            for n, (key, revenue, currency) in enumerate(sales)
        )
    )
    assert settled(story) == {("a", "ana"): 6, ("b", "ana"): 6, ("c", "ana"): 4, ("d", "ana"): 2, ("e", "ana"): 1}


def rates(story: Story, *rows: tuple[str, str, str]) -> None:
    for day, currency, rate in rows:
        story.client.command(
            "INSERT INTO rates (day, currency, rate) VALUES ({d:Date}, {c:String}, {r:Decimal(18, 8)})",
            parameters={"d": day, "c": currency, "r": rate},
        )


def test_partner_is_paid_in_its_own_currency_at_the_days_rate(story: Story) -> None:
    """Currencies that no other test uses: rates belong to the platform."""
    rates(
        story,
        ("2026-10-09", "AAA", "1.1"), ("2026-10-09", "BBB", "20"), ("2026-10-10", "AAA", "1.2"),
        ("2026-10-10", "BBB", "19"), ("2026-10-20", "AAA", "9"),
    )  # fmt: skip
    story.rule("ten", 1000)
    story.declare(partners=[story.of_client(ref=story.ref("dee"), offers=["main"], currency="BBB")])
    click = story.a_click("K1", "dee", dt.datetime(2026, 10, 1, tzinfo=dt.UTC))
    at = {"sunday": dt.datetime(2026, 10, 11, 8, tzinfo=dt.UTC), "too-late": dt.datetime(2026, 10, 18, tzinfo=dt.UTC)}
    story.insert(click, *(story.a_payment(k, t, "33.33", currency="AAA", click_id="K1") for k, t in at.items()))
    # 3.333 * (19 / 1.2 = 15.8333333333) = 52.7724999…, half-even 52.77; nothing within a week before the 18th
    assert settled(story) == {("sunday", "dee"): Decimal("52.77")}
    [entry] = story.ledger()
    assert (entry.currency, entry.reason["rate"]) == ("BBB", "15.8333333333")
    # The rate of an entry stays: half is refunded, half goes back.
    rates(story, ("2026-10-11", "AAA", "1"), ("2026-10-11", "BBB", "1"))
    story.insert(story.a_refund("sunday", "16.665", currency="AAA"))
    assert settled(story) == {("sunday", "dee"): Decimal("26.39")}  # 52.77 - half-even(26.385) = 52.77 - 26.38


def test_payment_that_turns_out_to_be_a_test_gives_everything_back(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1"))
    story.settle()
    story.pay("pi_1", is_test=True)
    assert settled(story) == {("pi_1", "ana"): 0}
    assert story.attributions() == {}


def review(story: Story, key: str, partner: str, *, approved: bool, codes: tuple[str, ...] = ()) -> None:
    story.client.insert(
        "reviews",
        [[story.client_id, key, story.ref(partner), approved, list(codes), "", dt.datetime.now(dt.UTC)]],
        column_names=["client_id", "conversion_key", "partner_ref", "approved", "codes", "note", "reviewed_at"],
    )


def test_rejected_commission_is_taken_back_and_an_approved_one_given_again(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, story.a_payment("pi_1"))
    story.settle()
    review(story, "pi_1", "ana", approved=False)
    story.settle()
    review(story, "pi_1", "ana", approved=True)
    story.settle()
    assert [line[2:] for line in story.lines()] == [("accrual", 2), ("reversal", -2), ("adjustment", 2)]


STATUS = "SELECT conversion_key, status, amount, holds FROM commissions WHERE client_id = {client:UInt32}"


def test_status_follows_from_the_entries_the_hold_date_and_the_reviews(story: Story) -> None:
    story.rule("ten", 1000)
    story.declare(partners=[story.of_client(ref=story.ref("eve"), offers=["main"], email="Eve@Example.com ")])
    me = "6f4bdbcd6c3d02c2c1db6d0dcdeb0b16c1d5a8b1a0e1d7a8b6c8a8c1c9a6f4f4"  # somebody else
    click = story.a_click("K-eve", "eve", -60)
    sell(
        story,
        story.a_payment("old", -40),
        story.a_payment("new", -1),
        story.a_payment("back", -40),
        story.a_refund("back", "20.00", -39),
        click,
    )
    story.insert(story.a_payment("self", -40, click_id="K-eve", email_hash=digest.email_hash("eve@example.com")))
    story.insert(story.a_payment("other", -40, click_id="K-eve", email_hash=me))
    story.settle()

    def status() -> dict[str, tuple[str, list[str]]]:
        answer = story.client.query(STATUS, parameters={"client": story.client_id}).result_rows
        return {key: (found, holds) for key, found, _, holds in answer}

    assert status() == {
        "old": ("approved", []),
        "new": ("pending", []),
        "back": ("reversed", []),
        "self": ("pending", ["self_referral"]),
        "other": ("approved", []),
    }
    review(story, "self", "eve", approved=True, codes=("self_referral",))
    story.settle()
    assert status()["self"] == ("approved", [])


def holds(story: Story) -> dict[str, set[str]]:
    story.settle()
    rows = story.client.query(
        "SELECT conversion_key, code FROM holds FINAL WHERE client_id = {client:UInt32}",
        parameters={"client": story.client_id},
    ).result_rows
    found: dict[str, set[str]] = {}
    for key, code in rows:
        found.setdefault(key, set()).add(code)
    return found


def test_partner_who_buys_through_the_own_link_is_held(story: Story) -> None:
    mine = digest.email_hash("ana@example.com")
    device = "01JZZZZZZZZZZZZZZZZZZZZZZZ"
    story.rule("ten", 1000)
    story.declare(
        partners=[
            story.of_client(ref=story.ref("flo"), offers=["main"], email="ana@example.com", devices=[device]),
        ]
    )
    story.insert(*(story.a_click(f"K{n}", "flo", -5) for n in range(4)))
    story.seen("phone", email=mine)
    story.insert(
        story.a_payment("address", click_id="K0", email_hash=mine),
        story.a_payment("device", click_id="K1", device_id="phone", email_hash="0" * 64),
        story.a_payment("named", click_id="K2", device_id=device),
        story.a_payment("stranger", click_id="K3", email_hash="1" * 64),
    )
    assert holds(story) == {key: {"self_referral"} for key in ("address", "device", "named")}
    assert set(story.sums().values()) == {2}  # held, not dropped


def test_conversion_faster_than_a_person_is_held(story: Story) -> None:
    story.rule("ten", 1000)
    at = story.time(-1)
    story.click("K1", "ana", at)
    story.pay("robot", at + dt.timedelta(seconds=4.999), click_id="K1")
    story.pay("person", at + dt.timedelta(seconds=5), click_id="K1")
    assert holds(story) == {"robot": {"fast_conversion"}}


def test_burst_of_clicks_from_one_address_block_is_held(story: Story) -> None:
    story.declare(
        offers=[story.of_client(slug="own", landing_page="https://x.test/", holds={"clicks_per_network": 20})]
    )
    story.rule("ten", 1000, offer="own")
    at = dt.datetime(2026, 11, 1, 12, 1, tzinfo=dt.UTC)
    story.insert(*(story.a_click(f"B{n}", "ana", at, offer="own") | {"ip": "10.1.1.0"} for n in range(21)))
    story.insert(*(story.a_click(f"C{n}", "ana", at, offer="own") | {"ip": "10.1.2.0"} for n in range(20)))
    story.pay("burst", -1, click_id="B7")
    story.pay("crowd", -1, click_id="C7")
    assert holds(story) == {"burst": {"click_burst"}}


def test_too_many_conversions_of_one_click_are_held(story: Story) -> None:
    story.declare(
        offers=[story.of_client(slug="own", landing_page="https://x.test/", holds={"conversions_per_click": 2})]
    )
    story.rule("ten", 1000, offer="own")
    story.click("K1", "ana", -5, offer="own")
    for n in range(4):
        story.pay(f"pi_{n}", -3 + n / 10, click_id="K1")
        story.settle()
    assert holds(story) == {"pi_2": {"conversions_per_click"}, "pi_3": {"conversions_per_click"}}


def test_partner_whose_sales_come_back_is_held(story: Story) -> None:
    story.rule("ten", 1000)
    sold = [(partner, f"{partner}-{n:02}") for partner in ("ana", "bo") for n in range(20)]
    story.insert(*(story.a_click(f"K-{key}", partner, -4) for partner, key in sold))
    story.insert(*(story.a_payment(key, -3, click_id=f"K-{key}") for _, key in sold))
    story.insert(*(story.a_refund(f"ana-{n:02}", "20.00") for n in range(7)))
    story.settle()
    story.pay("ana-next", click_id="K-ana-00")
    story.pay("bo-next", click_id="K-bo-00")
    assert holds(story) == {"ana-next": {"refund_rate"}}


@pytest.mark.parametrize("change", ["none", "rule", "lost"])
def test_recompute_finds_what_the_ledger_lacks_and_nothing_else(story: Story, change: str) -> None:
    story.rule("ten", 1000)
    sell(
        story,
        *(story.a_payment(f"pi_{n}", -n, customer_ref="cus_1") for n in range(1, 4)),
        story.a_refund("pi_2", "5.00"),
    )
    story.settle()
    if change == "lost":
        for table in ("attribution_rows", "ledger_lines"):
            story.client.command(
                f"DELETE FROM {table} WHERE client_id = {{client:UInt32}} AND conversion_key = 'pi_2'",
                parameters={"client": story.client_id},
            )
    elif change == "rule":  # applied, and the worker did not come to it yet
        story.rule("younger", 2000, valid_from=story.time(-2.5).isoformat())

    def differences(since: float = -30, *, dry_run: bool = True) -> list[str]:
        return [str(d) for d in recompute(story.client, story.client_id, story.time(since), dry_run=dry_run)]

    ana = story.ref("ana")
    expected = {
        "none": [],
        "rule": [
            f"pi_1: {ana} +2.0000 USD (adjustment: by what is known now the commission is another)",
            f"pi_2: {ana} +2.0000 USD (adjustment: by what is known now the commission is another)",
            f"pi_2: {ana} -0.5000 USD (reversal: money was refunded)",
        ],
        "lost": [
            f"pi_2: no answer → click_id {ana}",
            f"pi_2: {ana} +2.0000 USD (accrual: commission for a first payment)",
            f"pi_2: {ana} -0.5000 USD (reversal: money was refunded)",
        ],
    }[change]
    assert differences() == expected
    assert differences(-0.5) == []
    assert differences(dry_run=False) == expected
    assert differences() == []
    story.settle()
    assert differences() == []
