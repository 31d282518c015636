"""Segment files that a killed ingest left, torn or with a flipped bit: what was whole lands, what was lost is told."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faults.station import Station, event_ids, messages, metric
from relo_ingest._fast import ulid
from relo_ingest._fast.segment import Segment
from support.processes import Server, eventually
from support.stripe_events import checkout_completed, signed

SEGMENT_ROWS = 100
SEGMENTS = 44
PAGE = 4096


@pytest.fixture
def station(tmp_path: Path, clickhouse: Any) -> Iterator[Station]:
    own = Station(tmp_path, clickhouse)
    yield own
    own.close()


def fill(server: Server, segments: int, payments: int = 0) -> set[str]:
    """Beacons for that many full segments, and payments; the ids of what was acknowledged."""
    sent = set()
    for _ in range(segments // 4):
        ids = [ulid.new() for _ in range(4 * SEGMENT_ROWS)]
        beacons = [{"client_id": 1, "event_id": i, "title": "t" * random.randrange(40)} for i in ids]
        assert server.http.post("/e", json=beacons).status_code == 204
        sent.update(ids)
    for _ in range(payments):
        event = checkout_completed()
        assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
        sent.add(event["id"])
    return sent


def killed(station: Station, segments: int, payments: int) -> set[str]:
    server = station.ingest(away=True, spool_segment_rows=SEGMENT_ROWS, spool_max_age_ms=60_000)
    sent = fill(server, segments, payments)
    station.kill(server)
    return sent


@dataclass
class Layout:
    """A segment file as its description says (segment.pyx), read here once more and independently."""

    content: bytes
    index: int
    body: int
    ends: list[int]
    """Of the rows, from the start of the body."""
    used_header: int

    @classmethod
    def of(cls, path: Path) -> Layout:
        content = path.read_bytes()
        _, _, index, _, max_rows = struct.unpack_from("<8sIIII", content)
        id_size, lane_size, columns_size = struct.unpack_from("<HHI", content, 40)
        body = (index + 8 * max_rows + PAGE - 1) // PAGE * PAGE
        entries = [struct.unpack_from("<I", content, index + 8 * i)[0] for i in range(max_rows)]
        ends = entries[: entries.index(0)] if 0 in entries else entries
        return cls(content, index, body, ends, 128 + id_size + lane_size + columns_size)

    def rows_before(self, byte: int) -> int:
        return sum(self.body + end <= byte for end in self.ends)


UNUSABLE = None
Damage = Callable[[Layout, random.Random], tuple[bytes, int | None]]
"""The damaged content, and how many of its rows are whole; UNUSABLE when the header is gone."""


def torn_at(size: int, layout: Layout) -> tuple[bytes, int | None]:
    whole = None if size < layout.used_header else layout.rows_before(size)
    return layout.content[:size], whole


def flipped_at(byte: int, layout: Layout, chance: random.Random) -> bytes:
    content = bytearray(layout.content)
    content[byte] ^= 1 << chance.randrange(8)
    return bytes(content)


def flip_in_header(layout: Layout, chance: random.Random) -> tuple[bytes, int | None]:
    byte = chance.choice([*range(52), *range(128, layout.used_header)])
    return flipped_at(byte, layout, chance), UNUSABLE


def flip_in_counter(layout: Layout, chance: random.Random) -> tuple[bytes, int | None]:
    return flipped_at(chance.randrange(64, 72), layout, chance), len(layout.ends)


def flip_in_index(layout: Layout, chance: random.Random) -> tuple[bytes, int | None]:
    row = chance.randrange(len(layout.ends))
    return flipped_at(layout.index + 8 * row + chance.randrange(8), layout, chance), row


def flip_in_body(layout: Layout, chance: random.Random) -> tuple[bytes, int | None]:
    byte = layout.body + chance.randrange(layout.ends[-1])
    return flipped_at(byte, layout, chance), layout.rows_before(byte)


def zeros_from(byte: int, layout: Layout) -> tuple[bytes, int | None]:
    """What a power failure leaves: the length is there, pages are not."""
    return layout.content[:byte] + bytes(len(layout.content) - byte), layout.rows_before(byte)


DAMAGES: list[tuple[str, Damage]] = [
    ("emptied", lambda layout, _: torn_at(0, layout)),
    ("torn in the fixed header", lambda layout, chance: torn_at(chance.randrange(1, 128), layout)),
    ("torn in the column list", lambda layout, chance: torn_at(chance.randrange(128, layout.used_header), layout)),
    ("torn in the index", lambda layout, chance: torn_at(chance.randrange(layout.index, layout.body), layout)),
    ("torn at the body", lambda layout, _: torn_at(layout.body, layout)),
    *[
        (
            f"torn in the body, {i}",
            lambda layout, chance: torn_at(layout.body + chance.randrange(layout.ends[-1]), layout),
        )
        for i in range(6)
    ],
    ("torn between two rows", lambda layout, _: torn_at(layout.body + layout.ends[40], layout)),
    ("one byte short", lambda layout, _: torn_at(layout.body + layout.ends[-1] - 1, layout)),
    ("zeros in the body", lambda layout, _: zeros_from(layout.body + layout.ends[60], layout)),
    *[(f"flip in the header, {i}", flip_in_header) for i in range(4)],
    ("flip in the counter", flip_in_counter),
    *[(f"flip in the index, {i}", flip_in_index) for i in range(5)],
    *[(f"flip in the body, {i}", flip_in_body) for i in range(6)],
]


def test_what_was_whole_lands_and_what_was_lost_is_told(station: Station) -> None:
    sent = killed(station, SEGMENTS, payments=30)
    paths = station.segments()
    beacons = [p for p in paths if p.name.startswith("beacons-") and p.suffix == ".sealed"]
    payments = [p for p in paths if p.name.startswith("payments-")]
    assert (len(beacons) >= len(DAMAGES) + 5, len(payments)) == (True, 1)
    seed = random.randrange(2**32)
    chance = random.Random(seed)

    expected, lost, unusable = set(sent), 0, []
    victims = [(name, damage, path) for (name, damage), path in zip(DAMAGES, beacons, strict=False)]
    victims += [("torn in the payments", DAMAGES[5][1], payments[0])]
    for name, damage, path in victims:
        layout = Layout.of(path)
        with Segment.recover(path) as segment:
            ids = event_ids(segment)
        assert len(ids) == len(layout.ends)
        content, whole = damage(layout, chance)
        path.write_bytes(content)
        if whole is UNUSABLE:
            unusable.append(path)
        else:
            lost += len(ids) - whole
        expected -= set(ids[whole or 0 :])
        print(f"{name}: {whole} of {len(ids)} rows are whole ({path.name})")
    assert lost > 0, seed

    server = station.ingest(spool_segment_rows=SEGMENT_ROWS, spool_max_age_ms=100)
    assert server.http.get("/health/ready").status_code == 200
    eventually(lambda: not station.segments(), "every segment is dealt with")
    assert station.landed() == sorted(expected), f"seed {seed}"
    assert metric(server, "relo_rows_lost_total") == lost
    assert metric(server, "relo_segments_damaged_total") == len(unusable)

    told = [m for m in messages(server) if "damaged and are lost" in m]
    assert sum(int(m.split(": ")[1].split()[0]) for m in told) == lost
    set_aside = "\n".join(m for m in messages(server) if "set aside" in m)
    listed = station.relo("spool", "ls")
    for path in unusable:
        segment_id = path.stem.rpartition("-")[2]
        assert path.name in set_aside
        assert f"{segment_id}  damaged: " in listed
        assert path.with_suffix(".damaged").exists()
    assert "Traceback" not in server.log.read_text()

    # It works on: what comes now lands too, and a restart does not fall over the damaged ones.
    again = station.ingest(spool_max_age_ms=100)
    new = fill(again, 4, payments=1)
    eventually(lambda: station.landed() == sorted(expected | new), "what came later lands")
    assert again.stop() == 0
    assert all(p.with_suffix(".damaged").exists() for p in unusable)


def test_files_that_are_no_segments_do_not_stop_the_spool(station: Station) -> None:
    """Whatever a person or another program leaves there: sealing, flushing and adopting go on."""
    sent = killed(station, 8, payments=1)
    owner = station.segments()[0].parent
    (owner / "notes.txt").write_text("do not delete")
    (owner / "backup of monday.sealed").write_bytes(b"what is this")
    (owner / "beacons-01ARZ3NDEKTSV4RRFFQ69G5FAV.sealed").mkdir()
    (owner.parent / "stray.sealed").write_bytes(b"")
    (owner.parent / "01ARZ3NDEKTSV4RRFFQ69G5FAX").mkdir()  # an owner that died before it made its lock
    server = station.ingest(spool_max_age_ms=100)
    eventually(lambda: station.landed() == sorted(sent), "the segments between them land")
    new = fill(server, 4, payments=1)
    eventually(lambda: station.landed() == sorted(sent | new), "what comes later is sealed and lands")
    assert (owner / "notes.txt").read_text() == "do not delete"
    assert "backup of monday" in station.relo("spool", "ls")
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0


def test_what_the_dead_left_has_one_taker(station: Station) -> None:
    """Two ingests at once on what a third left: each segment has one taker."""
    sent = killed(station, 12, payments=3)
    one = station.ingest(spool_max_age_ms=100)
    two = station.ingest(spool_max_age_ms=100)
    eventually(lambda: not station.segments(), "everything is flushed")
    assert station.landed() == sorted(sent)
    # The metrics directory is one per parent process.
    assert metric(one, "relo_segments_adopted_total") + metric(two, "relo_segments_adopted_total") == 13
    assert (one.stop(), two.stop()) == (0, 0)
    assert [p for p in (station.data_dir / "spool").iterdir() if not p.name.startswith(".")] == []
