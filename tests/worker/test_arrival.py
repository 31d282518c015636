"""What must not matter: in which order things become known, what a clock says, who says a thing once more, who dies."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from relo_ingest import rates, review
from relo_ingest.clickhouse.client import INSERT_SETTINGS
from relo_ingest.registry import apply
from relo_ingest.worker.loop import Worker, run
from relo_ingest.worker.recompute import recompute
from support.processes import eventually

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Story = Any  # of conftest.py, which cannot be imported

AT = dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC)
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
LINKED = {
    "event_type": "custom",
    "event_name": "invoice_payment_linked",
    "conversion_key": "in_1",
    "refs": ["in_1", "pi_1"],
}
_clicks = itertools.count(1)


@pytest.fixture(autouse=True)
def no_differences(story: Story, engine: Client) -> Iterator[None]:
    """At the end of each test the ledger is what a recomputation gives, and no rates are left for the next."""
    yield
    assert not [str(d) for d in recompute(story.client, story.client_id, LONG_AGO, dry_run=True)]
    engine.command("TRUNCATE TABLE rates")


def settled(story: Story) -> dict[tuple[str, str], Decimal]:
    story.settle()
    found: dict[tuple[str, str], Decimal] = story.sums()
    return found


def know(story: Story, day: dt.datetime, **by_currency: str) -> None:
    rows = [(day.date(), currency, Decimal(rate)) for currency, rate in by_currency.items()]
    story.client.insert("rates", rows, column_names=["day", "currency", "rate"])


def paid_in(story: Story, currency: str, at: dt.datetime) -> str:
    """A click of the partner dora, who is paid in that currency; its id."""
    story.declare(partners=[story.of_client(ref=story.ref("dora"), offers=["main"], currency=currency)])
    click = f"K{next(_clicks)}"
    story.click(click, "dora", at - dt.timedelta(days=1))
    return click


# Said once more


def test_click_id_that_is_sent_again_changes_neither_whose_the_click_is_nor_when_it_was(story: Story) -> None:
    story.rule("ten", 1000)
    first = {"received_at": AT - dt.timedelta(days=2)}
    story.insert(story.a_click("K1", "ana", AT - dt.timedelta(days=2)) | first)
    story.pay("pi_1", AT, click_id="K1")
    assert settled(story) == {("pi_1", "ana"): 2}
    for partner, at in (("bo", AT - dt.timedelta(days=1)), ("ana", AT + dt.timedelta(days=1))):
        story.insert(story.a_click("K1", partner, at) | {"received_at": AT + dt.timedelta(days=1)})
        assert settled(story) == {("pi_1", "ana"): 2}
    story.client.command("OPTIMIZE TABLE click_rows FINAL")
    story.insert(story.a_refund("pi_1", "10.00", AT + dt.timedelta(days=2)))
    assert settled(story) == {("pi_1", "ana"): 1}
    sql = "SELECT partner_ref, event_time FROM clicks WHERE client_id = {c:UInt32}"
    found = story.client.query(sql, parameters={"c": story.client_id}).result_rows
    assert [(p, t.replace(tzinfo=dt.UTC)) for p, t in found] == [(story.ref("ana"), AT - dt.timedelta(days=2))]


def test_insert_that_was_cut_off_tells_its_changes_again_when_it_is_repeated(story: Story) -> None:
    """A server that dies within an insert may keep the changes and not what they are about; the retry brings that."""
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    story.pay("pi_1", -1, click_id="K1")
    assert settled(story) == {("pi_1", "ana"): 2}
    row = {"client_id": story.client_id, "received_at": AT, "event_id": "r1", **story.a_refund("pi_1", "20.00")}
    names, token = list(row), {"insert_deduplication_token": f"segment-{story.client_id}"}

    def send() -> None:
        settings = INSERT_SETTINGS | token
        story.client.insert("events", [list(row.values())], column_names=names, settings=settings)

    # The first part of the insert: the rows of events and changes, and no reversal.
    story.client.command("DETACH TABLE payment_reversals_mv")
    try:
        send()
    finally:
        story.client.command("ATTACH TABLE payment_reversals_mv")
    story.settle()
    assert story.sums() == {("pi_1", "ana"): 2}
    send()
    assert settled(story) == {("pi_1", "ana"): 0}


# Clocks


def test_clock_that_went_back_hides_no_payment(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    story.settle()
    ahead = "INSERT INTO worker_state (name, value) SELECT 'settled', now64(3) + INTERVAL 1 HOUR"
    story.client.command(ahead)
    story.pay("pi_1", -1, click_id="K1")
    Worker(story.client).round()
    assert story.sums() == {("pi_1", "ana"): 2}
    story.pay("pi_2", -1, click_id="K1")
    Worker(story.client).round()
    assert story.sums() == {("pi_1", "ana"): 2, ("pi_2", "ana"): 2}


def test_clock_that_goes_back_under_a_worker_hides_no_payment(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    worker = Worker(story.client)
    worker.round()
    worker._changes._read += dt.timedelta(minutes=10)  # as if it had read that far by the clock of before
    story.pay("pi_1", -1, click_id="K1")
    worker.round()
    assert story.sums() == {("pi_1", "ana"): 2}


def test_answer_replaces_one_that_a_clock_ahead_has_written(story: Story) -> None:
    story.rule("ten", 1000)
    story.pay("pi_1", -1, click_id="K1")
    story.settle()
    of_client = f"client_id = {story.client_id}"
    story.client.command(
        "INSERT INTO attribution_rows SELECT * REPLACE (attributed_at + INTERVAL 10 MINUTE AS attributed_at) "
        f"FROM attribution_rows FINAL WHERE {of_client}"
    )
    story.click("K1", "ana", -2)
    assert settled(story) == {("pi_1", "ana"): 2}
    assert story.attributions()["pi_1"].method == "click_id"


# Rates


@pytest.mark.parametrize("sale_first", [True, False])
def test_rate_is_that_of_the_currency_that_the_sale_has_by_now(story: Story, sale_first: bool) -> None:
    story.rule("ten", 1000)
    know(story, AT, EUR="1", USD="1.25", MXN="20")
    click = paid_in(story, "EUR", AT)
    invoice = {"event_type": "custom", "event_name": "invoice_payment"}
    reports = [
        story.a_payment("in_1", AT, "1000.00", currency="MXN", click_id=click),
        story.a_payment("in_1", AT, "50.00", currency="USD", click_id=click, **invoice),
    ]
    for report in reports if sale_first else reversed(reports):
        story.insert(report)
        settled(story)
    assert settled(story) == {("in_1", "dora"): 5}


@pytest.mark.parametrize("early_first", [True, False])
def test_rate_is_that_of_the_day_that_the_sale_has_by_now(story: Story, early_first: bool) -> None:
    story.rule("ten", 1000)
    midnight = AT.replace(hour=0)
    know(story, midnight - dt.timedelta(days=1), AUD="1", CAD="1.5")
    know(story, midnight, AUD="1", CAD="1.6")
    click = paid_in(story, "CAD", AT)
    invoice = {"event_type": "custom", "event_name": "invoice_payment", "currency": "AUD"}
    early, late = midnight - dt.timedelta(seconds=2), midnight + dt.timedelta(seconds=3)
    reports = [
        story.a_payment("in_1", early, "100.00", currency="AUD", click_id=click),
        story.a_payment("in_1", late, "100.00", click_id=click, **invoice),
    ]
    for report in reports if early_first else reversed(reports):
        story.insert(report)
        settled(story)
    assert settled(story) == {("in_1", "dora"): 15}


def test_rates_of_two_rules_are_not_taken_for_each_other(story: Story) -> None:
    know(story, AT, EUR="1", USD="1.25", MXN="20")
    click = paid_in(story, "MXN", AT)
    story.declare(commission_rules=[story.of_client(name="e", offer="main", fixed="10", currency="EUR")])
    story.pay("pi_1", AT, "100.00", click_id=click)
    assert settled(story) == {("pi_1", "dora"): 200}
    own = {"name": "u", "fixed": "10", "currency": "USD", "partner": story.ref("dora")}
    story.declare(commission_rules=[story.of_client(offer="main", **own)])
    assert settled(story) == {("pi_1", "dora"): 160}
    for amount, left in (("50.00", 80), ("10.00", 64)):
        story.insert(story.a_refund("pi_1", amount, AT + dt.timedelta(days=1)))
        assert settled(story) == {("pi_1", "dora"): left}


def test_commission_that_lost_its_rate_comes_back_with_it(story: Story) -> None:
    story.rule("ten", 1000)
    click = paid_in(story, "EUR", AT)
    story.pay("pi_1", AT, "100.00", click_id=click, currency="EUR")
    assert settled(story) == {("pi_1", "dora"): 10}
    later = {"fixed": "20", "currency": "GBP", "valid_from": AT - dt.timedelta(days=5)}
    story.declare(commission_rules=[story.of_client(name="g", offer="main", **later)])
    assert settled(story) == {("pi_1", "dora"): 0}
    [cause] = [e.reason["cause"] for e in story.ledger() if e.amount < 0]
    assert "an exchange rate is missing" in cause
    rates.write(story.client, {(AT.date(), "GBP"): Decimal("0.8"), (AT.date(), "EUR"): Decimal(1)}, "EUR", "x.csv")
    assert settled(story) == {("pi_1", "dora"): 25}


# Reviews


def test_rejection_holds_when_the_payment_turns_out_to_be_an_invoices(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -3)
    story.pay("pi_1", -1, click_id="K1", refs=["pi_1", "cs_1"])
    story.settle()
    review.decide(story.client, "pi_1", approve=False, slug=story.slug, partner="", note="fraud")
    assert settled(story) == {("pi_1", "ana"): 0}
    invoice = {"event_type": "custom", "event_name": "invoice_payment"}
    story.insert(story.a_payment("in_1", -1, **invoice), LINKED | {"event_time": story.time(-1)})
    assert sum(settled(story).values()) == 0
    review.decide(story.client, "in_1", approve=True, slug=story.slug, partner=story.ref("ana"), note="it was not")
    assert settled(story)["in_1", "ana"] == 2
    assert settled(story)["in_1", "ana"] == 2


def test_approval_holds_and_a_merged_payments_hold_goes_with_it(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", story.time(-1) - dt.timedelta(seconds=1))
    story.pay("pi_1", -1, click_id="K1", refs=["pi_1", "cs_1"])
    story.settle()
    assert any("fast_conversion" in line for line in review.listing(story.client, story.slug))
    review.decide(story.client, "pi_1", approve=True, slug=story.slug, partner="", note="")
    invoice = {"event_type": "custom", "event_name": "invoice_payment"}
    story.insert(story.a_payment("in_1", -1, **invoice), LINKED | {"event_time": story.time(-1)})
    assert settled(story) == {("pi_1", "ana"): 0, ("in_1", "ana"): 2}
    assert [line for line in review.listing(story.client, story.slug) if "fast_conversion" in line] == []


def test_review_after_one_of_a_clock_ahead_counts(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -3)
    story.pay("pi_1", -1, click_id="K1")
    story.settle()
    review.decide(story.client, "pi_1", approve=False, slug=story.slug, partner="", note="")
    of_client = f"client_id = {story.client_id}"
    story.client.command(
        "INSERT INTO reviews SELECT * REPLACE (reviewed_at + INTERVAL 1 HOUR AS reviewed_at) "
        f"FROM reviews FINAL WHERE {of_client}"
    )
    assert settled(story) == {("pi_1", "ana"): 0}
    review.decide(story.client, "pi_1", approve=True, slug=story.slug, partner="", note="")
    assert settled(story) == {("pi_1", "ana"): 2}


# The registry, and the worker itself


@pytest.mark.parametrize("behind", [0, 500], ids=["the same version", "a version below the latest"])
def test_registry_entry_that_is_written_beside_another_is_seen(story: Story, behind: int) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    story.pay("pi_1", -1, click_id="K1")
    assert settled(story) == {("pi_1", "ana"): 2}
    body = apply.current(story.client)["commission_rule", f"{story.slug}/ten"]
    body |= {"name": "twenty", "basis_points": 2000, "valid_from": story.time(-3).isoformat()}
    latest = int(str(story.client.command("SELECT max(version) FROM registry")))
    row = ("commission_rule", f"{story.slug}/twenty", latest - behind, msgspec.json.encode(body).decode())
    story.client.insert("registry", [row], column_names=["kind", "key", "version", "body"])
    assert settled(story) == {("pi_1", "ana"): 4}


def test_worker_is_asked_between_batches_whether_to_go_on(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    worker = Worker(story.client)
    worker.round()
    story.pay("pi_1", -1, click_id="K1")
    before = worker._changes._read
    assert worker.step(lambda: False) is None
    assert worker._changes._read == before
    assert worker.step(lambda: True) is not None, "what was left is read again"
    assert worker._changes._read > before
    assert story.sums() == {("pi_1", "ana"): 2}


def test_worker_ends_when_told_while_things_keep_coming_in(story: Story, settings_for: Any, clickhouse: Any) -> None:
    stop, fed = threading.Event(), threading.Event()
    feeder = clickhouse.connect()

    def feed() -> None:
        while not fed.is_set():
            feeder.command(
                "INSERT INTO changes SELECT now64(3), {c:UInt32}, 'evidence', toString(rand())",
                parameters={"c": story.client_id},
            )

    threads = [
        threading.Thread(target=feed),
        threading.Thread(target=run, args=(settings_for(clickhouse=clickhouse), stop)),
    ]
    for thread in threads:
        thread.start()
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    story.pay("pi_1", -1, click_id="K1")
    eventually(lambda: story.sums() == {("pi_1", "ana"): 2}, "a commission")
    stop.set()
    threads[1].join(60)
    fed.set()
    threads[0].join()
    feeder.close()
    assert not threads[1].is_alive()


# Holds


def codes(story: Story) -> list[tuple[str, str]]:
    sql = "SELECT conversion_key, code FROM holds FINAL WHERE client_id = {c:UInt32} ORDER BY ALL"
    return [tuple(row) for row in story.client.query(sql, parameters={"c": story.client_id}).result_rows]


def offer(story: Story, **holds: int) -> None:
    story.declare(offers=[story.of_client(slug="own", landing_page="https://x.test/", holds=holds)])
    story.rule("own-ten", 1000, offer="own")


@pytest.mark.parametrize("order", [*itertools.permutations((-3, -2, -1))], ids=str)
def test_conversions_of_a_click_are_counted_in_their_own_order(story: Story, order: tuple[int, ...]) -> None:
    offer(story, conversions_per_click=2)
    story.click("K1", "ana", -5, offer="own")
    for at in order:
        story.pay(f"pi{at}", at, click_id="K1")
        story.settle()
    story.settle()
    assert ("pi-1", "conversions_per_click") in codes(story)


def test_hold_that_is_turned_off_holds_nothing(story: Story) -> None:
    offer(story, fastest_s=0)
    story.click("K1", "ana", AT + dt.timedelta(minutes=2), offer="own")
    story.pay("pi_1", AT, click_id="K1")
    assert settled(story) == {("pi_1", "ana"): 2}
    assert codes(story) == []


def test_disputes_that_were_won_are_no_refunds(story: Story) -> None:
    offer(story, refund_percent=30, conversions_per_click=0)
    story.click("K1", "ana", -5, offer="own")
    names = [f"p{n}" for n in range(20)]
    story.insert(*[story.a_payment(p, -3, click_id="K1") for p in names])
    story.insert(*[story.a_dispute(p, "20.00") for p in names[:8]])
    story.settle()
    story.insert(*[story.a_dispute(p, "20.00", "chargeback_reversed", 0.01) for p in names[:8]])
    story.settle()
    story.pay("next", 0, click_id="K1")
    story.settle()
    assert [code for key, code in codes(story) if key == "next"] == []


@pytest.mark.parametrize("edge", [10, 0], ids=["of ten minutes", "of an hour"])
def test_burst_is_seen_across_an_edge(story: Story, edge: int) -> None:
    offer(story, clicks_per_network=20)
    at = story.time(-1).replace(minute=edge, second=0)
    near = [at + dt.timedelta(minutes=-2 if n < 18 else 2) for n in range(36)]
    story.insert(*[story.a_click(f"K{n}", "ana", t, "own") | {"ip": "10.1.9.0"} for n, t in enumerate(near)])
    story.pay("pi_1", at + dt.timedelta(hours=1), click_id="K3")
    story.settle()
    assert codes(story) == [("pi_1", "click_burst")]


def test_clicks_of_bots_are_no_burst(story: Story) -> None:
    offer(story, clicks_per_network=20)
    of_bot = {"ip": "10.1.8.0", "is_bot": True}
    story.insert(*[story.a_click(f"K{n}", "ana", -1, "own") | of_bot for n in range(30)])
    story.insert(story.a_click("K", "ana", -1, "own") | {"ip": "10.1.8.0"})
    story.pay("pi_1", -0.5, click_id="K")
    story.settle()
    assert codes(story) == []
