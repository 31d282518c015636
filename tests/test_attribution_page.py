"""docs/attribution.md: its numbers are the product's, its commands and views are there."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from relo_ingest import cli, rates
from relo_ingest.registry.model import Holds, Offer
from tests.worker.conftest import Story, engine, story, worker

__all__ = ["engine", "story", "worker"]

PAGE = Path(__file__).parents[1].joinpath("docs", "attribution.md").read_text()
JANUARY = dt.datetime(2025, 1, 31, 12, tzinfo=dt.UTC)

Row = dict[str, str]


def table(*header: str) -> list[Row]:
    """The rows of the table with this header."""
    start = PAGE.index("| " + " | ".join(header) + " |\n")
    lines = PAGE[start:].split("\n\n")[0].splitlines()[2:]
    return [dict(zip(header, [c.strip() for c in line.strip("|").split("|")], strict=True)) for line in lines]


def split(amount: str) -> tuple[str, str]:
    """49.90 USD"""
    number, _, currency = amount.partition(" ")
    return number, currency


def rule_of(text: str) -> dict[str, Any]:
    """``10 % of the net amount, at most 3.00 USD`` as the registry has it."""
    found: dict[str, Any] = {}
    if share := re.search(r"^([\d.]+) %", text):
        found["basis_points"] = int(Decimal(share[1]) * 100)
    if bound := re.search(r"(a fixed|at most|at least) ([\d.]+) ([A-Z]{3})", text):
        field = {"a fixed": "fixed", "at most": "maximum", "at least": "minimum"}[bound[1]]
        found |= {field: bound[2], "currency": bound[3]}
    if "net amount" in text:
        found["basis"] = "net_of_tax_and_shipping"
    assert found, text
    return found


def sell(story: Story, paid: str, rule: str, key: str = "pi", at: Any = -1, **fields: Any) -> None:
    """A payment by a click of a partner who earns by the rule."""
    revenue, currency = split(paid)
    story.partner("ana")
    story.declare(commission_rules=[story.of_client(name="r", offer="main", **rule_of(rule))])
    story.click("k", "ana", -2)
    story.pay(key, at, revenue, currency=currency, click_id="k", **fields)
    story.settle()


def lines(story: Story) -> list[tuple[str, Decimal, str]]:
    """Kind, amount and currency, in the order in which they were written."""
    return [(n.kind, n.amount, n.currency) for n in sorted(story.ledger(), key=lambda n: (n.created_at, n.kind))]


def exact(story: Story) -> Decimal:
    return Decimal(story.ledger()[0].reason["exact"])


@pytest.mark.parametrize("row", table("paid", "share", "exactly", "earned"), ids=lambda r: r["paid"])
def test_rounding(story: Story, row: Row) -> None:
    sell(story, row["paid"], row["share"])
    earned, currency = split(row["earned"])
    assert lines(story) == [("accrual", Decimal(earned), currency)]
    assert exact(story) == Decimal(split(row["exactly"])[0])


@pytest.mark.parametrize(
    "row", table("paid", "of that tax", "of that shipping", "rule", "earned"), ids=lambda r: r["rule"]
)
def test_limits_and_bases(story: Story, row: Row) -> None:
    parts = f'{{"tax": "{row["of that tax"]}", "shipping": "{row["of that shipping"]}"}}'
    sell(story, row["paid"], row["rule"], properties=parts)
    earned, currency = split(row["earned"])
    assert lines(story) == [("accrual", Decimal(earned), currency)]


def test_steps_by_volume(story: Story) -> None:
    told = re.search(r"With (\d+) %, and (\d+) %\s+after (\d+) sales, four payments of ([\d.]+) USD", PAGE)
    assert told
    steps = [{"after": int(told[3]), "basis_points": int(told[2]) * 100}]
    base = int(told[1]) * 100
    story.partner("ana")
    story.declare(commission_rules=[story.of_client(name="r", offer="main", basis_points=base, tiers=steps)])
    story.click("k", "ana", JANUARY - dt.timedelta(days=9))
    rows = table("sale of the month", "earned")
    for row in rows:
        number = int(row["sale of the month"])
        story.pay(f"pi_{number}", JANUARY - dt.timedelta(days=8 - number), told[4], click_id="k")
    story.settle()
    earned = {n.conversion_key: f"{n.amount:.2f} {n.currency}" for n in story.ledger()}
    assert earned == {f"pi_{row['sale of the month']}": row["earned"] for row in rows}


def test_months_of_renewals(story: Story) -> None:
    told = re.search(r"First payment\s+on (\S+), (\d+) months:", PAGE)
    assert told
    first = dt.datetime.fromisoformat(told[1]).replace(hour=12, tzinfo=dt.UTC)
    story.partner("ana")
    story.rule("r", 1000, renewal_months=int(told[2]))
    story.click("k", "ana", first - dt.timedelta(days=1))
    story.pay("first", first, click_id="k", customer_ref="cus")
    rows = table("renewal on", "earns")
    for row in rows:
        at = dt.datetime.fromisoformat(row["renewal on"]).replace(hour=12, tzinfo=dt.UTC)
        renewal = {"event_type": "custom", "event_name": "subscription_renewal", "customer_ref": "cus"}
        story.pay(row["renewal on"], at, **renewal)
    story.settle()
    assert {n.conversion_key for n in story.ledger()} == {"first"} | {
        r["renewal on"] for r in rows if r["earns"] == "yes"
    }


@pytest.mark.parametrize(
    "row", table("paid", "share", "units for 1 EUR", "rate", "exactly", "earned"), ids=lambda r: r["paid"]
)
def test_currencies(story: Story, row: Row) -> None:
    revenue, currency = split(row["paid"])
    story.declare(partners=[story.of_client(ref=story.ref("eva"), offers=["main"], currency="EUR")])
    story.declare(commission_rules=[story.of_client(name="r", offer="main", **rule_of(row["share"]))])
    story.click("k", "eva", -2)
    story.pay("pi", -1, revenue, currency=currency, click_id="k")
    story.settle()
    assert lines(story) == [], "without a rate it waits"
    day = story.time(-1).date() - dt.timedelta(days=7)
    known = {(day, "EUR"): Decimal(1), (day, currency): Decimal(row["units for 1 EUR"])}
    rates.write(story.client, known, "EUR", "rates.csv")
    story.settle()
    earned, entry_currency = split(row["earned"])
    assert lines(story) == [("accrual", Decimal(earned), entry_currency)]
    assert exact(story) == Decimal(split(row["exactly"])[0])
    assert Decimal(story.ledger()[0].reason["rate"]) == Decimal(row["rate"])


@pytest.mark.parametrize(
    "row",
    table("paid", "share", "earned", "refunded", "goes back", "left"),
    ids=lambda r: f"{r['refunded']} of {r['paid']}",
)
def test_refunds(story: Story, row: Row) -> None:
    sell(story, row["paid"], row["share"])
    properties = f'{{"refund": "re", "amount": "{row["refunded"]}", "charge": "ch", "created": 1}}'
    story.insert({"event_type": "refund", "event_name": "refund", "refs": ["pi"], "revenue": f"-{row['refunded']}",
                  "currency": split(row["paid"])[1], "properties": properties})  # fmt: skip
    story.settle()
    earned, currency = split(row["earned"])
    assert lines(story) == [
        ("accrual", Decimal(earned), currency),
        ("reversal", -Decimal(row["goes back"]), currency),
    ]
    assert Decimal(earned) - Decimal(row["goes back"]) == Decimal(row["left"])


def test_disputes(story: Story) -> None:
    assert "A dispute takes everything back when the money is withdrawn, and gives it again when it is won." in PAGE
    sell(story, "50.00 USD", "10 %")
    for name, at, amount in (("chargeback", -0.9, "-50"), ("chargeback_reversed", -0.8, "50")):
        story.insert({"event_type": "chargeback", "event_name": name, "event_time": story.time(at), "refs": ["pi"],
                      "revenue": amount, "currency": "USD", "properties": '{"dispute": "dp", "amount": "50", "charge": "ch"}'})  # fmt: skip
        story.settle()
    assert [n[:2] for n in lines(story)] == [
        ("accrual", Decimal(5)),
        ("reversal", Decimal(-5)),
        ("accrual", Decimal(5)),
    ]


def test_methods_in_their_order_with_their_windows() -> None:
    offer = Offer(client="c", slug="o", landing_page="https://x.test")
    rows = table("method", "the sale is yours because", "how long after")
    assert [row["method"].strip("`") for row in rows] == list(offer.methods)
    assert [row["how long after"] for row in rows[1:3]] == [f"{offer.click_window_days} days after the click"] * 2
    assert offer.device_window_days is offer.customer_window_days is None, "as long as the click's, and for good"
    assert f"by default {offer.hold_days} days after the payment" in PAGE


@pytest.mark.parametrize(("days", "method"), [(59, "click_id"), (61, "none")])
def test_a_click_counts_within_its_window(story: Story, days: int, method: str) -> None:
    story.partner("ana")
    story.click("k", "ana", -days)
    story.pay("pi", 0, click_id="k")
    story.settle()
    assert story.attributions()["pi"].method == method


def test_a_near_click_goes_before_a_later_far_one(story: Story) -> None:
    told = re.search(
        r"a click (\d+) days\s+before the payment on its own device goes before a click of (\d+) days", PAGE
    )
    assert told
    story.partner("near", "far")
    story.click("k1", "near", -int(told[1]))
    story.click("k2", "far", -int(told[2]))
    story.seen("own", click="k1", email="e" * 64, at=-int(told[1]))
    story.seen("other", click="k2", email="e" * 64, at=-int(told[2]))
    story.pay("on its own device", 0, device_id="own")
    story.pay("with the address", 0, email_hash="e" * 64)
    assert story.winners() == {
        "on its own device": ("device", "k1", "near"),
        "with the address": ("device", "k2", "far"),  # both are near
    }


def test_holds_and_their_limits() -> None:
    told = {
        row["code"].strip("`"): row["the sale is on hold because"]
        for row in table("code", "the sale is on hold because")
    }
    limits = Holds()
    assert f"less than {limits.fastest_s} seconds" in told["fast_conversion"]
    assert f"more than {limits.clicks_per_network} clicks" in told["click_burst"]
    assert f"more than {limits.conversions_per_click} sales" in told["conversions_per_click"]
    assert f"more than {limits.refund_percent} %" in told["refund_rate"]
    assert len(told) == len(Holds.__struct_fields__)


def test_views_are_there(engine: Any) -> None:
    for row in table("view", "a row for each"):
        engine.command(f"SELECT count() FROM {row['view'].strip('`')}")


@pytest.mark.parametrize("line", [n for n in PAGE.splitlines() if n.startswith("relo ")])
def test_command_is_understood(line: str) -> None:
    cli.parser().parse_args(shlex.split(line, comments=True)[1:])
