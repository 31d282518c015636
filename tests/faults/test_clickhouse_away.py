"""ClickHouse refuses, or hangs: what comes in is kept until it is back, or refused when no more can be kept."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.load import EVERYTHING, Load, beacon, identify, payment, send_at_once
from support.processes import eventually, free_port
from support.proxy import Fault
from support.soak import scaled
from support.stack import Stack, children, flushed, resident_bytes

STOPS_WITHIN_S = 60
"""The supervisor kills after 20."""
ACCEPTED = {200, 204, 302}


@pytest.mark.parametrize("away", ["refuse", "hang"])
def test_sigterm_with_clickhouse_and_redis_away_ends_in_time_and_loses_nothing(stack: Stack, away: str) -> None:
    with socket.socket() as redis:  # it never answers, and refuses when it does not listen
        redis.bind(("127.0.0.1", 0))
        if away == "hang":
            redis.listen(1000)
        url = f"redis://127.0.0.1:{redis.getsockname()[1]}/0"
        for _ in range(scaled(1, 5)):
            ingest = stack.start_ingest(workers=2, RELO_REDIS_URL=url)
            with Load(ingest.base_url, stack.ledger, {**EVERYTHING, identify: 2}) as load:
                load.go_on(100)
                if away == "refuse":
                    stack.proxy.refuse()
                else:
                    stack.proxy.set(Fault.HOLD_REQUEST)
                load.go_on(200)
                assert ingest.stop(timeout_s=STOPS_WITHIN_S) == 0
            stack.proxy.set(Fault.NONE)
            if away == "refuse":
                stack.proxy.accept()
    after = stack.start_ingest()
    stack.verify()
    assert after.stop() == 0


def test_sigterm_under_load_loses_nothing(stack: Stack) -> None:
    for _ in range(scaled(2, 20)):
        ingest = stack.start_ingest(workers=2)
        with Load(ingest.base_url, stack.ledger, connections=16, pause_s=0) as load:
            load.go_on(200)
            assert ingest.stop(timeout_s=STOPS_WITHIN_S) == 0
    after = stack.start_ingest()
    stack.verify()
    assert after.stop() == 0


def test_an_outage_is_stored_up_to_the_cap_then_beacons_are_refused_then_all_is_made_good(stack: Stack) -> None:
    ingest = stack.start_ingest(RELO_SPOOL_CAP_BYTES=16 << 20, RELO_SPOOL_SEGMENT_BYTES=1 << 20)
    (worker,) = children(ingest.process.pid)
    large = functools.partial(beacon, props={"filler": "x" * 8_000})
    # So slow that ClickHouse keeps up with it even beside other work: only the outage fills the spool.
    with Load(ingest.base_url, stack.ledger, {large: 9, payment: 1}, pause_s=0.02) as load:

        def nothing_is_refused() -> bool:
            load.statuses.clear()
            load.go_on(300)
            return set(load.statuses) <= ACCEPTED

        load.go_on(300)
        calm = resident_bytes(worker)
        for _ in range(scaled(1, 6)):
            stack.proxy.refuse()
            assert set(load.statuses) <= ACCEPTED
            eventually(lambda: load.statuses[503] >= 100, "the spool is full")
            load.go_on_for(scaled(1, 20))
            for _ in range(5):
                paid = send_at_once([ingest.base_url], payment(), 1, stack.ledger)
                assert paid == {200: 1}, "the last room is for payments"
            assert int(load.last_headers[503]["retry-after"]) > 0
            assert resident_bytes(worker) < calm + (48 << 20)
            stack.proxy.accept()
            eventually(lambda: ingest.http.get("/health/ready").status_code == 200, "ready again")
            eventually(nothing_is_refused, "there is room again for everything")
    stack.verify()
    assert children(ingest.process.pid) == [worker], "no restart was needed"
    assert ingest.stop() == 0


def test_while_clickhouse_hangs_everything_is_accepted(stack: Stack) -> None:
    """Its timed-out inserts are carried out in the end, at the same time as the ones that were sent after them."""
    stack.stop_merges()
    ingest = stack.start_ingest(RELO_CLICKHOUSE_TIMEOUT_S=1)
    with Load(ingest.base_url, stack.ledger, repeat=False) as load:
        load.go_on(100)
        with stack.connected() as client:
            eventually(lambda: client.command("SELECT count() FROM events"), "inserts were under way before")
        for _ in range(scaled(1, 10)):
            stack.proxy.set(Fault.HOLD_REQUEST)
            load.go_on(300)
            eventually(lambda: stack.proxy.caught >= 6, "inserts time out and are tried again")
            load.go_on(100)
            stack.proxy.set(Fault.NONE)
            flushed(stack.data_dir)
    assert set(load.statuses) <= ACCEPTED
    stack.verify(once_even_raw=True)
    assert ingest.stop() == 0


def test_while_clickhouse_hangs_an_ingest_starts(stack: Stack, tmp_path: Path) -> None:
    assert stack.start_ingest().stop() == 0  # leaves the registry's copy
    stack.proxy.set(Fault.HOLD_REQUEST)
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "relo_ingest", "ingest"],
        env=stack.environment(RELO_INGEST_PORT=port, RELO_CLICKHOUSE_TIMEOUT_S=600),
    ) as ingest:

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=1).status_code == 200
            except httpx.TransportError:
                return False

        try:
            eventually(answers, "it serves, before RELO_CLICKHOUSE_TIMEOUT_S")
        finally:
            ingest.kill()
