"""Segments of another schema than the table's: older ones land, newer ones wait for the migration and hold up nobody."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.station import Station, event_ids, messages, metric
from relo_ingest._fast import ulid
from relo_ingest._fast.segment import Segment
from relo_ingest.spool.directory import OwnedDirectory
from relo_ingest.spool.flusher import PARKED_RETRY_S
from support.processes import PATIENCE_S, eventually
from support.stripe_events import checkout_completed, signed

# What a much older version might have written.
OLD_COLUMNS = "event_id,client_id,event_time,received_at,event_type,event_name,url,properties"


@pytest.fixture
def stations(tmp_path: Path, clickhouse: Any) -> Iterator[list[Station]]:
    found = [Station(tmp_path / name, clickhouse) for name in ("one", "two")]
    yield found
    for station in found:
        station.close()


def text(value: str) -> bytes:
    encoded = value.encode()
    assert len(encoded) < 128
    return bytes([len(encoded)]) + encoded


def leave_old_segment(station: Station, rows: int) -> set[str]:
    """A segment with the columns of OLD_COLUMNS, left by a dead process; the ids in it."""
    directory = OwnedDirectory.create(station.data_dir / "spool")
    segment_id = ulid.new()
    ids = [ulid.new() for _ in range(rows)]
    with Segment.create(
        directory.path / f"beacons-{segment_id}.open", segment_id=segment_id, lane="beacons", schema_version=1,
        columns=OLD_COLUMNS, capacity=1 << 20, max_rows=100, created_ms=1_700_000_000_000,
    ) as segment:  # fmt: skip
        for event_id in ids:
            times = struct.pack("<qq", 1_700_000_000_000, 1_700_000_000_001)
            names = text("page") + text("page") + text("https://old.example/")
            assert segment.append_raw(text(event_id) + struct.pack("<I", 1) + times + names + text('{"old":true}'))
    directory.release()
    return set(ids)


def send(station: Station, server: Any, payments: int = 1) -> set[str]:
    event_id = ulid.new()
    assert server.http.post("/e", json={"client_id": 1, "event_id": event_id, "title": "new"}).status_code == 204
    ids = {event_id}
    for _ in range(payments):
        event = checkout_completed()
        assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
        ids.add(event["id"])
    return ids


def test_a_segment_older_than_the_schema_lands_with_defaults(stations: list[Station]) -> None:
    station = stations[0]
    station.client.command("ALTER TABLE events ADD COLUMN IF NOT EXISTS added_later String DEFAULT 'unknown'")
    old = leave_old_segment(station, 20)
    server = station.ingest(spool_max_age_ms=100)
    new = send(station, server)
    eventually(lambda: station.landed() == sorted(old | new), "old and new rows land")
    columns = "title, url, added_later, toJSONString(properties)"
    sql = f"SELECT DISTINCT {columns} FROM events WHERE event_id IN {{ids:Array(String)}}"
    assert station.rows(sql, ids=sorted(old)) == [("", "https://old.example/", "unknown", '{"old":true}')]
    assert metric(server, "relo_spool_parked_segments") == 0


def test_segments_newer_than_the_schema_wait_and_hold_up_nobody(stations: list[Station]) -> None:
    """A column that the table lacks (its migration was not run), and a table that is not there at all."""
    no_column, no_table = stations
    no_column.client.command("ALTER TABLE events DROP COLUMN title")
    no_table.client.command("DETACH TABLE events")
    servers = [station.ingest(spool_max_age_ms=100) for station in stations]
    waiting = []
    for station, server in zip(stations, servers, strict=True):
        waiting.append(send(station, server))
        # One of each lane: parked, kept, told by a metric and by a line of the log that says why.
        eventually(lambda s=server: metric(s, "relo_spool_parked_segments") == 2, "two segments are parked")
        assert {i for path in station.segments() for i in ids_in(path)} == waiting[-1]
        told = [m for m in messages(server) if "is kept and needs a person" in m]
        assert len(told) >= 2
        assert station.relo("spool", "ls").count("sealed") == 2
        assert server.http.get("/health/live").status_code == 200
    assert any("title" in m for m in messages(servers[0]) if "needs a person" in m)
    assert any("UNKNOWN_TABLE" in m for m in messages(servers[1]) if "needs a person" in m)

    # The others pass: a segment without the column, adopted while the two wait.
    old = leave_old_segment(no_column, 5)
    eventually(lambda: no_column.landed() == sorted(old), "the older segment is not held up")
    assert metric(servers[0], "relo_spool_parked_segments") == 2

    no_column.client.command("ALTER TABLE events ADD COLUMN title String AFTER referrer")
    no_table.client.command("ATTACH TABLE events")
    for station, server in zip(stations, servers, strict=True):
        more = send(station, server)  # what comes after the migration does not wait for what came before
        expected = waiting.pop(0) | more | (old if station is no_column else set())
        eventually(lambda s=station, e=more: set(s.landed()) >= e, "what comes later lands at once")
        eventually(
            lambda s=station, e=expected: s.landed() == sorted(e),
            "what was parked lands, once",
            PARKED_RETRY_S + PATIENCE_S,
        )
        eventually(lambda s=server: metric(s, "relo_spool_parked_segments") == 0, "nothing is parked any more")
        eventually(lambda s=station: s.segments() == [], "no segment is left")
        assert metric(server, "relo_rows_quarantined_total") == metric(server, "relo_rows_lost_total") == 0
        assert server.stop() == 0


def ids_in(path: Path) -> list[str]:
    with Segment.recover(path) as segment:
        return event_ids(segment)
