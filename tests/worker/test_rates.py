"""Commissions in another currency than the sale's: which rate is asked for, and which one stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Story = Any  # of conftest.py, which cannot be imported

T = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(hours=2)
"""When things are sold: soon, so that a rule may change before."""
RATES = {"USD": Decimal("1.25"), "EUR": Decimal(1), "JPY": Decimal(160)}


@pytest.fixture(autouse=True)
def rates(engine: Client) -> Iterator[None]:
    """Of the day before; nobody else's conversions stand in the tables of a test that asks what is missing."""
    rows = [(T.date() - dt.timedelta(days=1), currency, rate) for currency, rate in RATES.items()]
    engine.insert("rates", rows, column_names=["day", "currency", "rate"])
    yield
    engine.command("TRUNCATE TABLE rates")


def earned(story: Story, key: str = "pi_1") -> list[tuple[Decimal, str]]:
    story.settle()
    return [(line.amount, line.currency) for line in story.ledger() if line.conversion_key == key]


def sell(story: Story, partner: str = "ana", **fields: Any) -> None:
    story.click("K1", partner, T - dt.timedelta(days=2))
    story.pay("pi_1", T, "20.00", click_id="K1", **fields)


def paid_in(story: Story, name: str, currency: str) -> str:
    """A partner, from the beginning on."""
    story.declare(partners=[story.of_client(ref=story.ref(name), offers=["main"], currency=currency)])
    return name


def test_share_of_a_sale_is_paid_in_the_partners_currency(story: Story) -> None:
    story.rule("ten", 1000)
    sell(story, paid_in(story, "dora", "EUR"))
    assert earned(story) == [(Decimal("1.60"), "EUR")]


def test_fixed_amount_asks_for_no_rate_of_the_sale(story: Story) -> None:
    story.declare(commission_rules=[story.of_client(name="two", offer="main", fixed="2", currency="USD")])
    sell(story, currency="CHF")
    assert earned(story) == [(Decimal("2.00"), "USD")]


@pytest.mark.parametrize("name", ["new", "old"], ids=["another rule", "the rule changed"])
def test_rate_that_stays_is_of_one_pair_of_currencies(story: Story, name: str) -> None:
    """What is in force is known late, and is in another currency than what was applied before."""
    later = {"offer": "main", "fixed": "160", "currency": "JPY", "valid_from": T - dt.timedelta(days=3)}
    story.declare(commission_rules=[story.of_client(name="old", offer="main", fixed="2", currency="USD")])
    sell(story, paid_in(story, "dora", "EUR"))
    assert earned(story) == [(Decimal("1.60"), "EUR")]
    story.declare(commission_rules=[story.of_client(name=name, **later)])
    assert sum(amount for amount, _ in earned(story)) == Decimal("1.00")
