"""Rows that ClickHouse refuses: the others land exactly once, each bad one is kept with its reason and can be replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.station import Station, messages, metric
from relo_ingest._fast import ulid
from relo_ingest.events import Event
from relo_ingest.settings import Spool as SpoolSettings
from relo_ingest.spool.directory import OwnedDirectory
from relo_ingest.spool.lane import Lane, LaneRules
from support.processes import Server, eventually, relo
from support.stripe_events import checkout_completed, signed

# An operator's own rule. The parser enforces it: "poison" is a number.
RULE = "ALTER TABLE events MODIFY COLUMN properties JSON(max_dynamic_paths = 64, poison UInt8)"
NO_RULE = "ALTER TABLE events MODIFY COLUMN properties JSON(max_dynamic_paths = 64)"
CONSTRAINT = "ALTER TABLE events ADD CONSTRAINT no_poison CHECK title != 'poison'"


@pytest.fixture
def station(tmp_path: Path, clickhouse: Any) -> Iterator[Station]:
    own = Station(tmp_path, clickhouse)
    yield own
    own.close()


def send(server: Server, count: int, bad: set[int]) -> tuple[list[str], list[str]]:
    """Beacons, of which those at ``bad`` break the constraint; ids of the good, ids of the bad."""
    ids = [ulid.new() for _ in range(count)]
    beacons = [
        {"client_id": 1, "event_id": i, "title": "poison", "props": {"n": n, "poison": "arsenic"}}
        if n in bad
        else {"client_id": 1, "event_id": i, "title": f"page {n}", "props": {"n": n}}
        for n, i in enumerate(ids)
    ]
    for start in range(0, count, 500):
        assert server.http.post("/e", json=beacons[start : start + 500]).status_code == 204
    return [i for n, i in enumerate(ids) if n not in bad], [ids[n] for n in sorted(bad)]


def quarantined(station: Station) -> list[str]:
    """Names of the quarantined rows, oldest first, as ``relo spool quarantine`` lists them."""
    lines = station.relo("spool", "quarantine").splitlines()
    return [] if lines == ["the quarantine is empty"] else [line.split()[0] for line in lines]


def flushed(station: Station) -> bool:
    return not station.segments()


def test_one_bad_row_of_ten_thousand(station: Station) -> None:
    station.client.command(RULE)
    first = station.ingest(away=True, spool_max_age_ms=60_000)
    good, bad = send(first, 10_000, {6_789})
    station.kill(first)
    assert len(station.segments()) == 1
    server = station.ingest()
    eventually(lambda: flushed(station), "the segment is dealt with")
    assert station.landed() == sorted(good)
    assert metric(server, "relo_rows_quarantined_total") == 1
    assert metric(server, "relo_rows_flushed_total") == 9_999
    assert metric(server, "relo_rows_lost_total") == 0

    [line] = station.relo("spool", "quarantine").splitlines()
    name = line.split()[0]
    reason = line.partition(" UTC  ")[2]
    assert "Cannot insert data into JSON column" in reason
    shown = station.relo("spool", "show", name)
    assert shown.startswith(f"refused: {reason}\n")
    for expected in (f"event_id: {bad[0]}", "title: poison", '"n":6789'):
        assert expected in shown
    # The log names the row and the error, not what a visitor sent.
    [told] = [m for m in messages(server) if "quarantined" in m]
    assert name.rpartition("-")[0] in told
    assert "arsenic" not in server.log.read_text()

    refused = relo("spool", "replay", name, env=station.environment())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "was not taken" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert quarantined(station) == [name]
    station.client.command("SYSTEM START MERGES events")  # which also rewrite the column
    station.client.command(NO_RULE)
    assert station.relo("spool", "replay", name) == f"{name} is in ClickHouse\n"
    assert quarantined(station) == []
    assert station.landed() == sorted(good + bad)
    stored = station.rows("SELECT toJSONString(properties) FROM events WHERE event_id = {i:String}", i=bad[0])
    assert json.loads(stored[0][0]) == {"n": 6789, "poison": "arsenic"}
    again = relo("spool", "replay", name, env=station.environment())
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("bad", [{0}, {0, 1, 30, 58, 59}, set(range(60))])
def test_several_bad_rows_and_all_rows_bad(station: Station, bad: set[int]) -> None:
    station.client.command(RULE)
    server = station.ingest(spool_max_age_ms=100)
    good, refused = send(server, 60, bad)
    event = checkout_completed()
    assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    eventually(lambda: flushed(station), "the segments are dealt with")
    assert station.landed() == sorted([*good, event["id"]])
    names = quarantined(station)
    assert len(names) == len(refused)
    shown = "".join(station.relo("spool", "show", name) for name in names[:3])
    assert any(f"event_id: {i}" in shown for i in refused)
    # What follows is not held up.
    more, _ = send(server, 10, set())
    eventually(lambda: station.landed() == sorted([*good, *more, event["id"]]), "what follows lands")
    assert "Traceback" not in server.log.read_text()


def test_rows_with_broken_json_that_the_encoder_never_saw_through(station: Station) -> None:
    """Straight into a segment, past every check of the ingest: ClickHouse refuses each for another reason."""
    broken = [b'{"a":}', b'{"a":1}}', b'{"a":tru}', b'{"a":"x}', b"{{}}", b'{"a" 1}']
    root = station.data_dir / "spool"
    directory = OwnedDirectory.create(root)
    defaults = SpoolSettings()
    rules = LaneRules("beacons", False, defaults.segment_bytes, defaults.segment_rows, 1000)
    lane = Lane(rules, directory.path, lambda _: None, lambda _: True)
    good = []
    now = 1_700_000_000_000
    for n in range(90):
        properties = broken[n // 15] if n % 15 == 7 else b'{"n":%d}' % n
        event = Event(ulid.new(), 1, now, now, "page", "page", "pixel", "pixel", properties=properties)
        lane.append(event)
        if properties not in broken:
            good.append(event.event_id)
    lane.seal()
    directory.release()
    station.ingest()
    eventually(lambda: flushed(station), "the segment is dealt with")
    assert station.landed() == sorted(good)
    names = quarantined(station)
    assert len(names) == len(broken)
    assert all(station.relo("spool", "show", name).startswith("refused: ") for name in names[:2])


def test_bisecting_goes_on_after_a_kill_and_nothing_lands_twice(station: Station) -> None:
    """Killed while it searches, the next searches again with the same ranges and tokens."""
    station.client.command(RULE)
    first = station.ingest(away=True, spool_max_age_ms=60_000)
    good, bad = send(first, 1_000, set(range(0, 1_000, 200)))
    station.kill(first)
    for _ in range(2):
        server = station.ingest()
        eventually(lambda: station.count() > 0 or flushed(station), "it has begun")
        station.kill(server)
    station.ingest()
    eventually(lambda: flushed(station), "the segment is dealt with")
    assert station.landed() == sorted(good)
    assert len(quarantined(station)) == len(bad)
    assert station.count("events") == len(good)


def test_a_constraint_of_the_table_is_heeded(station: Station) -> None:
    station.client.command(CONSTRAINT)
    server = station.ingest(spool_max_age_ms=100)
    good, bad = send(server, 100, {50})
    eventually(lambda: flushed(station), "the segment is dealt with")
    assert station.landed() == sorted(good)
    assert len(quarantined(station)) == len(bad)
