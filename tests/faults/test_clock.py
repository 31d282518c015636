"""The machine's clock steps by an hour, forwards and back, under a running ingest.

Ages, quotas and pauses go by the monotonic clock; only what is told to people and signed by Stripe goes by the other.

Servers with a stepped clock are killed at the end, not stopped: libfaketime answers some sleeps of granian's parent
process (clock_nanosleep) with EINVAL, which no kernel does.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.station import Station, messages
from relo_ingest._fast import ulid
from support.processes import Server, eventually
from support.stripe_events import checkout_completed, signed

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR = 3600


class Clock:
    """What processes with ``environment`` take for the time: ours, moved by ``step`` seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: int) -> None:
        self.offset = offset
        draft = self._path.with_suffix(".draft")
        draft.write_text(f"{offset:+d}s\n")
        draft.replace(self._path)

    def now(self) -> int:
        return int(time.time()) + self.offset


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if LIBRARY is None:
        pytest.skip("libfaketime is missing: make test installs it")
    clock = Clock(tmp_path / "faketime")
    clock.set(HOUR)
    command = ["/usr/bin/env", "date", "+%s"]
    said = subprocess.run(command, env=os.environ | clock.environment, capture_output=True, text=True).stdout
    if not said.strip() or abs(int(said) - clock.now()) > 60:
        pytest.skip("libfaketime does not work here")
    clock.set(0)
    return clock


@pytest.fixture
def station(tmp_path: Path, clickhouse: Any) -> Iterator[Station]:
    own = Station(tmp_path, clickhouse)
    yield own
    own.close()


def click(server: Server) -> str:
    response = server.http.get("/r?ref=ana")
    assert response.status_code == 302, response.text
    return str(response.headers["location"].rpartition("=")[2])


STEPS = [0, HOUR, 0, -HOUR, 0, HOUR, -HOUR, 0]


def test_an_hour_forwards_and_back_under_a_running_ingest(station: Station, clock: Clock) -> None:
    server = station.ingest(extra=clock.environment, spool_max_age_ms=200)
    sent: list[str] = []
    received: dict[int, list[str]] = {}
    for offset in STEPS:
        clock.set(offset)
        made = [click(server) for _ in range(10)]
        # Beacons without an id of their own get one here, and the clock of the row's arrival is the stepped one.
        body = [{"client_id": 1, "title": f"step {len(sent)}"}] * 20
        assert server.http.post("/e", json=body).status_code == 204
        received.setdefault(offset, []).append(f"step {len(sent)}")

        # Webhooks are judged by the clock as it is now: fresh by it is accepted, fresh by another is not.
        event = checkout_completed(created=clock.now())
        assert server.http.post("/postback/stripe/demo", **signed(event, at=clock.now())).status_code == 200
        for wrong in {0, HOUR, -HOUR} - {offset}:
            refused = server.http.post("/postback/stripe/demo", **signed(event, at=int(time.time()) + wrong))
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "stale_signature")
        sent += [*made, event["id"]]

        # Sealing by age goes on, whichever way the clock went: what was sent lands before anything else comes.
        eventually(lambda: set(station.landed()) >= set(sent), f"what was sent at {offset:+d} s lands")

    rows = station.landed()
    assert len(rows) == len(set(rows)) == len(sent) + 20 * len(STEPS), "an id came twice, or a row"
    ours = [i for i in sent if not i.startswith("evt_")]
    assert all(a < b for a, b in itertools.pairwise(ours)), "ids go back"
    for offset, titles in received.items():
        times = station.rows(
            "SELECT toUnixTimestamp(received_at) FROM events WHERE title IN {t:Array(String)}", t=titles
        )
        assert len(times) == 20 * len(titles)
        assert all(abs(at - time.time() - offset) < 600 for (at,) in times)
    assert not [m for m in messages(server) if "Traceback" in m]


def test_segments_of_the_future_are_adopted_and_drained(station: Station, clock: Clock) -> None:
    """Left by an ingest whose clock was an hour ahead; the next has the right time."""
    clock.set(HOUR)
    first = station.ingest(away=True, extra=clock.environment)
    ahead = click(first)
    event = checkout_completed(created=clock.now())
    assert first.http.post("/postback/stripe/demo", **signed(event, at=clock.now())).status_code == 200
    station.kill(first)
    server = station.ingest(spool_max_age_ms=200)
    now = click(server)
    assert ulid.timestamp_ms(ahead) - ulid.timestamp_ms(now) > (HOUR - 600) * 1000
    eventually(lambda: station.landed() == sorted([now, ahead, event["id"]]), "all rows land, once")
    assert "-" not in station.relo("spool", "ls").partition(" old")[0].rpartition("bytes")[2]
    assert server.stop() == 0


def test_a_step_neither_fills_a_quota_nor_stops_its_filling(station: Station, clock: Clock) -> None:
    server = station.ingest(extra=clock.environment, quotas_beacons_per_s=1, quotas_burst=100)

    def accepted(most: int) -> int:
        """Beacons until the first refusal."""
        for count in range(most):
            response = server.http.post("/e", json={"client_id": 1})
            if response.status_code == 429:
                return count
            assert response.status_code == 204
        return most

    assert 100 <= accepted(150) < 150
    clock.set(HOUR)
    assert accepted(100) < 50, "the jump was worth an hour of tokens"
    clock.set(-HOUR)
    eventually(lambda: accepted(1) == 1, "tokens come after a step back")


def test_ids_never_repeat_whatever_the_clock_does() -> None:
    hours = [0, 1, -1, 0, 2]
    ids = [ulid._new_from_clock(10**12 + hour * 3_600_000) for hour in hours for _ in range(50)]
    assert all(a < b for a, b in itertools.pairwise(ids))
