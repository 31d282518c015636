"""Rows that ClickHouse refuses: kept apart with the reason, so that the others can go on.

Two files a row, ``{data_dir}/quarantine/{segment id}-{row}``: ``.row`` the bytes as they were to be inserted,
``.json`` what they are. ``relo spool quarantine`` lists them, ``relo spool replay`` sends one again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from relo_ingest._fast.segment import Segment
from relo_ingest.spool.directory import sync_directory

ROW, NOTE = ".row", ".json"


class Note(msgspec.Struct):
    """``columns``: the list the row was written in; ``reason``: ClickHouse's words; ``at``: Unix ms."""

    name: str
    lane: str
    schema_version: int
    columns: str
    reason: str
    at: int


class Quarantine:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, segment: Segment, row: int, reason: str) -> None:
        """Keep one row; on disk when this returns. The same row again changes nothing."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{segment.segment_id}-{row}"
        note = Note(
            name, segment.lane, segment.schema_version, segment.columns, reason[:1000], time.time_ns() // 1_000_000
        )
        _write(self.root / (name + ROW), segment.row(row))
        _write(self.root / (name + NOTE), msgspec.json.encode(note))
        sync_directory(self.root)

    def notes(self) -> Iterator[Note]:
        """What is there, oldest first."""
        for path in sorted(self.root.glob(f"*{NOTE}")):
            yield msgspec.json.decode(path.read_bytes(), type=Note)

    def row(self, name: str) -> bytes:
        return (self.root / (name + ROW)).read_bytes()

    def remove(self, name: str) -> None:
        for suffix in (NOTE, ROW):
            (self.root / (name + suffix)).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
