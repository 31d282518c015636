"""How the worker goes through what came in: late rows, appointments, places to go on from, days that are done with."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from relo_ingest.worker import changes
from relo_ingest.worker.changes import Changes
from relo_ingest.worker.evaluate import Session
from relo_ingest.worker.loop import Worker
from support.processes import eventually

Story = Any  # of conftest.py, which cannot be imported
DAYS = "SELECT DISTINCT toDate(seen_at) AS day FROM changes WHERE client_id = {client:UInt32} ORDER BY day"


def add(story: Story, seen_at: dt.datetime, key: str) -> None:
    story.client.insert(
        "changes",
        [[seen_at, story.client_id, "payment", key]],
        column_names=["seen_at", "client_id", "kind", "id"],
    )


def forget(story: Story, key: str) -> None:
    """As if the worker had not come to this conversion."""
    story.client.command(
        "DELETE FROM attribution_rows WHERE client_id = {client:UInt32} AND conversion_key = {key:String}",
        parameters={"client": story.client_id, "key": key},
    )


@pytest.fixture
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SETTLED_AFTER", dt.timedelta(0))
    monkeypatch.setattr(changes, "AGAIN_EVERY", dt.timedelta(0))
    monkeypatch.setattr(changes, "SAVE_EVERY_S", 0)


def test_change_that_becomes_visible_in_a_slice_that_was_read_is_handled(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = story.client.query("SELECT now64(3)").result_rows[0][0]
    story.pay("pi_1")
    story.settle()
    forget(story, "pi_1")
    add(story, before, "pi_1")
    story.settle()
    assert story.attributions() == {}
    monkeypatch.setattr(changes, "SETTLED_AFTER", dt.timedelta(0))
    monkeypatch.setattr(changes, "AGAIN_EVERY", dt.timedelta(0))
    story.settle()
    assert list(story.attributions()) == ["pi_1"]


def test_worker_goes_on_where_the_one_before_it_had_settled(story: Story, settled_at_once: None) -> None:
    story.pay("pi_1")
    story.settle()
    story.settle()  # what was read is counted again, and settled
    forget(story, "pi_1")
    Worker(story.client).round()
    assert story.attributions() == {}
    story.pay("pi_2")
    Worker(story.client).round()
    assert list(story.attributions()) == ["pi_2"]


def test_worker_that_starts_looks_once_more_at_what_had_not_settled(story: Story) -> None:
    story.pay("pi_1")
    story.settle()
    forget(story, "pi_1")
    Worker(story.client).round()
    assert list(story.attributions()) == ["pi_1"]


def test_days_that_are_settled_are_dropped_and_appointments_are_kept(story: Story, settled_at_once: None) -> None:
    now = dt.datetime.now(dt.UTC)
    past, future = now - dt.timedelta(days=3), now + dt.timedelta(days=3)
    add(story, past, "pi_1")
    add(story, future, "pi_1")
    story.pay("pi_2")
    for _ in range(2):
        Worker(story.client).round()
    days = [row[0] for row in story.client.query(DAYS, parameters={"client": story.client_id}).result_rows]
    assert past.date() not in days
    assert future.date() in days


def test_first_invoice_without_a_session_counts_after_its_ten_minutes(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -1)
    at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10) + dt.timedelta(seconds=20)
    first = {"event_type": "custom", "event_name": "subscription_first_invoice", "properties": {"amount": "20.00"}}
    story.insert(story.a_payment("in_1", at, "0", click_id="K1", **first))
    story.settle()
    assert story.attributions() == {}
    eventually(lambda: (story.settle(), story.sums() == {("in_1", "ana"): 2})[1], "a commission")


def test_slices_cover_every_change_once(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "ROWS", 3)
    start = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=-1)
    story.client.command("TRUNCATE TABLE changes")
    story.client.command("TRUNCATE TABLE worker_state")
    for n, second in enumerate((0, 1, 1, 1, 1, 2, 3, 4)):  # more of one moment than a slice has
        add(story, start + dt.timedelta(seconds=second), f"pi_{n}")
    found = Changes(Session(story.client))
    ends = []
    while (piece := found.next()) is not None:
        assert not piece.again
        ends.append((piece.until - start).total_seconds())
        found.done(piece)
    assert ends == [1, 4]
