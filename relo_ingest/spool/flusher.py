"""The flusher: one insert per sealed segment, in order, until ClickHouse has it.

A segment's id is its insert token and its bytes do not change after it is sealed, so an insert whose answer was
lost may be sent again: ClickHouse drops the second. A file is deleted only after ClickHouse answered.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relo_ingest import telemetry
from relo_ingest._fast.segment import Segment, SegmentDamaged
from relo_ingest.clickhouse.client import INSERT_SETTINGS, connect_async, first_line
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

log = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 10.0
DAMAGED = ".damaged"


class Flusher:
    """Sends the segments of one lane, one at a time. Runs until cancelled."""

    def __init__(self, settings: Settings, lane: str, on_retired: Callable[[Path], None]) -> None:
        self._settings = settings
        self._lane = lane
        self._on_retired = on_retired
        self._queue: deque[Path] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._client: AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None
        self.failing_since: float | None = None
        """Monotonic seconds of the first failure in a row; None while inserts work."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"flush-{self._lane}")

    def add(self, path: Path) -> None:
        self._queue.append(path)
        self._idle.clear()
        self._wake.set()

    @property
    def backlog(self) -> int:
        """Segments that wait."""
        return len(self._queue)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is left; False when time ran out first."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _run(self) -> None:
        delay = FIRST_RETRY_S
        while True:
            if not self._queue:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            path = self._queue[0]
            try:
                await self._flush(path)
            except Exception as error:
                if self.failing_since is None:
                    self.failing_since = time.monotonic()
                telemetry.FLUSH_FAILURES.labels(self._lane).inc()
                log.warning("segment %s not flushed, retry in %.1f s: %s", path.name, delay, first_line(error))
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 jitter, not a secret
                delay = min(delay * 2, LONGEST_RETRY_S)
                continue
            delay = FIRST_RETRY_S
            self.failing_since = None
            self._queue.popleft()
            self._on_retired(path)

    async def _flush(self, path: Path) -> None:
        try:
            segment = Segment.recover(str(path))
        except SegmentDamaged as error:
            telemetry.SEGMENTS_DAMAGED.inc()
            log.error("segment %s set aside: %s", path.name, error)
            path.rename(path.with_suffix(DAMAGED))
            return
        try:
            if segment.lost_rows:
                telemetry.ROWS_LOST.inc(segment.lost_rows)
                log.error("segment %s: %d rows were damaged and are lost", path.name, segment.lost_rows)
            if segment.rows:
                await self._insert(segment)
        finally:
            segment.close()
        path.unlink(missing_ok=True)

    async def _insert(self, segment: Segment) -> None:
        if self._client is None:
            self._client = await connect_async(self._settings)
        started = time.perf_counter()
        body: Any = segment.body()  # aiohttp sends a memoryview without copying it; the client's types do not say so
        try:
            await asyncio.wait_for(
                self._client.raw_insert(
                    "events",
                    segment.columns.split(","),
                    body,
                    settings=INSERT_SETTINGS | {"insert_deduplication_token": segment.segment_id},
                    fmt="RowBinary",
                ),
                self._settings.clickhouse.timeout_s,
            )
        finally:
            body.release()
        telemetry.FLUSH_SECONDS.labels(self._lane).observe(time.perf_counter() - started)
        telemetry.ROWS_FLUSHED.labels(self._lane).inc(segment.rows)
