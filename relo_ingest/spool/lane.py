"""A lane: rows that share a promise, written to one open segment after another.

Beacons and payments have a lane each, so that a payment's sync never waits for megabytes of beacons.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from relo_ingest import telemetry
from relo_ingest._fast import rowbinary, ulid
from relo_ingest._fast.segment import Segment
from relo_ingest.clickhouse.migrate import SCHEMA_VERSION
from relo_ingest.errors import BODY_TOO_LARGE, SPOOL_FULL, RequestRefused
from relo_ingest.events import COLUMNS, Event
from relo_ingest.spool.directory import OPEN, SEALED
from relo_ingest.spool.sync import GroupCommit

log = logging.getLogger(__name__)

COLUMN_LIST = ",".join(c.name for c in COLUMNS)


class LaneRules(msgspec.Struct, frozen=True):
    """``durable``: a row is acknowledged only when it is on disk."""

    name: str
    durable: bool
    capacity: int
    max_rows: int
    max_age_ms: int


class Lane:
    """The open segment of one lane. All methods run on the event loop's thread."""

    def __init__(
        self,
        rules: LaneRules,
        directory: Path,
        on_sealed: Callable[[Path], None],
        reserve: Callable[[int], bool],
    ) -> None:
        """``on_sealed`` gets the path of each sealed segment; ``reserve(bytes)`` says whether there is room."""
        self.rules = rules
        self._directory = directory
        self._on_sealed = on_sealed
        self._reserve = reserve
        self._segment: Segment | None = None
        self._commit: GroupCommit | None = None
        self._first_row_at = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    def append(self, event: Event) -> None:
        """Commit one row to the mapped segment: it survives the death of this process.

        Raises RequestRefused: SPOOL_FULL when there is no room, BODY_TOO_LARGE when the row is larger than a segment.
        """
        segment = self._segment
        if segment is None:
            segment = self._open()
        try:
            rows = rowbinary.append(segment, event)
            if not rows:
                self.seal()
                rows = rowbinary.append(self._open(), event)
        except rowbinary.RowTooLarge:
            raise RequestRefused(BODY_TOO_LARGE) from None
        if rows == 1:
            self._first_row_at = time.monotonic()

    async def append_durably(self, event: Event) -> None:
        """``append``, and return when the row is on disk. Raises RequestRefused(SPOOL_FULL) when the disk fails."""
        self.append(event)
        assert self._commit is not None
        try:
            await self._commit.committed()
        except OSError as error:
            log.error("segment not synced: %s", error.strerror)
            raise RequestRefused(SPOOL_FULL) from None

    def seal_if_old(self, now: float) -> None:
        """Seal a segment whose first row is older than the lane's age."""
        segment = self._segment
        if segment is not None and segment.rows and (now - self._first_row_at) * 1000 >= self.rules.max_age_ms:
            self.seal()

    def seal(self) -> None:
        """Close the open segment and hand it to the flusher; an empty one is deleted."""
        segment, commit, self._segment, self._commit = self._segment, self._commit, None, None
        if segment is None:
            return
        if commit is None:
            self._finish(segment)
        else:
            task = asyncio.get_running_loop().create_task(self._finish_after(segment, commit))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Seal, and wait for the syncs that are under way."""
        self.seal()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _finish_after(self, segment: Segment, commit: GroupCommit) -> None:
        await commit.finished()
        self._finish(segment)

    def _finish(self, segment: Segment) -> None:
        path = Path(segment.path)
        rows = segment.rows
        telemetry.ROWS_SPOOLED.labels(self.rules.name).inc(rows)
        telemetry.BYTES_SPOOLED.labels(self.rules.name).inc(segment.body_bytes)
        try:
            segment.seal()
        except OSError as error:
            log.error("segment %s keeps its unused space: %s", path.name, error.strerror)
        segment.close()
        if not rows:
            path.unlink(missing_ok=True)
            return
        sealed = path.with_suffix(SEALED)
        try:
            path.rename(sealed)
        except OSError as error:
            log.error("segment %s keeps its name: %s", path.name, error.strerror)
            sealed = path  # the flusher takes it by any name
        self._on_sealed(sealed)

    def _open(self) -> Segment:
        if not self._reserve(self.rules.capacity):
            raise RequestRefused(SPOOL_FULL)
        segment_id = ulid.new()
        path = self._directory / f"{self.rules.name}-{segment_id}{OPEN}"
        try:
            segment = Segment.create(
                str(path),
                segment_id=segment_id,
                lane=self.rules.name,
                schema_version=SCHEMA_VERSION,
                columns=COLUMN_LIST,
                capacity=self.rules.capacity,
                max_rows=self.rules.max_rows,
                created_ms=time.time_ns() // 1_000_000,
            )
        except OSError as error:
            path.unlink(missing_ok=True)
            level = logging.WARNING if error.errno in (errno.ENOSPC, errno.EDQUOT) else logging.ERROR
            log.log(level, "no new segment: %s", error.strerror)
            raise RequestRefused(SPOOL_FULL) from None
        self._segment = segment
        self._commit = GroupCommit(segment.sync) if self.rules.durable else None
        return segment
