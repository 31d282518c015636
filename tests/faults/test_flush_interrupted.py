"""The moments around ClickHouse's commit: whoever dies in one of them, nothing is lost and nothing counts twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.load import Load
from support.processes import eventually
from support.proxy import Fault
from support.soak import scaled
from support.stack import ClickHouse, Stack, flushed

INSERT = b"INSERT"


@pytest.fixture
def mortal_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose ClickHouse is its own, to be killed."""
    running = Stack(tmp_path, ClickHouse(tmp_path / "clickhouse"))
    yield running
    running.close()
    running.clickhouse.stop()


def test_a_reply_lost_after_the_commit_doubles_nothing(stack: Stack) -> None:
    stack.stop_merges()
    ingest = stack.start_ingest()
    with Load(ingest.base_url, stack.ledger, repeat=False) as load:
        for _ in range(scaled(1, 25)):
            load.go_on(200)
            stack.proxy.set(Fault.DROP_REPLY, INSERT)
            eventually(lambda: stack.proxy.caught >= 4, "replies are lost")
            load.go_on(200)
            stack.proxy.set(Fault.NONE)
            flushed(stack.data_dir)
        load.go_on(200)
    assert ingest.stop() == 0
    stack.verify(once_even_raw=True)


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [(Fault.HOLD_REQUEST, True), (Fault.HOLD_REQUEST, False), (Fault.HOLD_REPLY, False)],
    ids=["before the commit, and it arrives late", "before the commit, and it never arrives", "after the commit"],
)
def test_an_ingest_killed_in_an_insert_loses_and_doubles_nothing(stack: Stack, fault: Fault, arrives: bool) -> None:
    """A late one reaches ClickHouse when the next process, which adopted the segment, has sent it or is about to."""
    stack.stop_merges()
    for _ in range(scaled(1, 10)):
        ingest = stack.start_ingest()
        stack.proxy.set(fault, INSERT)
        with Load(ingest.base_url, stack.ledger, repeat=False) as load:
            load.go_on(100)
            eventually(lambda: stack.proxy.caught >= 2, "an insert of each lane is held")
            stack.kill_ingest(ingest)
        if not arrives:
            stack.proxy.refuse()
            stack.proxy.accept()
        stack.proxy.set(Fault.NONE)
        after = stack.start_ingest()
        with Load(after.base_url, stack.ledger, repeat=False) as load:
            load.go_on(50)
        assert after.stop() == 0
    stack.verify(once_even_raw=True)


@pytest.mark.parametrize("fault", [Fault.HOLD_REQUEST, Fault.HOLD_REPLY], ids=["before the commit", "after the commit"])
def test_a_clickhouse_killed_in_an_insert_loses_and_doubles_nothing(mortal_stack: Stack, fault: Fault) -> None:
    stack = mortal_stack
    ingest = stack.start_ingest()
    with Load(ingest.base_url, stack.ledger) as load:
        for _ in range(scaled(1, 10)):
            stack.proxy.set(fault, INSERT)
            load.go_on(200)
            eventually(lambda: stack.proxy.caught >= 1, "an insert is held")
            stack.clickhouse.kill()
            stack.proxy.set(Fault.NONE)
            load.go_on(100)
            stack.clickhouse.start()
            flushed(stack.data_dir)
        load.go_on(100)
    stack.verify()
    assert ingest.stop() == 0


def test_a_clickhouse_killed_at_any_moment_loses_and_doubles_nothing(mortal_stack: Stack) -> None:
    stack = mortal_stack
    ingest = stack.start_ingest(RELO_SPOOL_MAX_AGE_MS=10)  # inserts all the time
    with Load(ingest.base_url, stack.ledger) as load:
        for _ in range(scaled(3, 30)):
            load.go_on(random.randrange(50, 150))
            stack.clickhouse.kill()
            stack.clickhouse.start()
    stack.verify()
    assert ingest.stop() == 0
