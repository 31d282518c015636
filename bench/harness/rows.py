"""Rows of page views: events as the beacon handler makes them, and segments full of them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from bench.harness import requests
from relo_ingest._fast import rowbinary, ulid
from relo_ingest._fast.segment import Segment
from relo_ingest.events import COLUMNS, Event
from relo_ingest.ingest import beacon
from relo_ingest.ingest.privacy import Redactor
from relo_ingest.ingest.visitor import Visitor

CAPACITY, MOST_ROWS = 8 << 20, 20_000


def page_view() -> Event:
    at_ms = time.time_ns() // 1_000_000
    body = msgspec.json.encode(requests.page_view(ulid.new(), at_ms))
    visitor = Visitor(requests.HEADERS[1][1], False, "", False)
    return beacon.to_event(*beacon.decode(body), at_ms, "203.0.113.0", visitor, Redactor(()))


def new_segment(directory: Path) -> Segment:
    segment_id = ulid.new()
    return Segment.create(
        directory / segment_id,
        segment_id=segment_id,
        lane="beacons",
        schema_version=1,
        columns=",".join(c.name for c in COLUMNS),
        capacity=CAPACITY,
        max_rows=MOST_ROWS,
        created_ms=time.time_ns() // 1_000_000,
    )


def filled_segment(directory: Path, events: list[Event]) -> Segment:
    """Sealed, with a row of each event."""
    segment = new_segment(directory)
    for event in events:
        assert rowbinary.append(segment, event)
    segment.seal()
    return segment


class Appender:
    """Called, it writes one row into a mapped segment on disk; when one is full, it opens another."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._event = page_view()
        self._segment = new_segment(directory)

    def __call__(self) -> None:
        if not rowbinary.append(self._segment, self._event):
            self._segment.close()
            for old in self._directory.iterdir():
                old.unlink()
            self._segment = new_segment(self._directory)
            rowbinary.append(self._segment, self._event)
