"""The flusher: one insert per sealed segment, in order, until ClickHouse has it.

A segment's id is its insert token and its bytes do not change after it is sealed, so an insert whose answer was
lost may be sent again: ClickHouse drops the second. A file is deleted only after ClickHouse answered.

While ClickHouse is away the oldest segment is tried again and again, with a growing pause; the others wait behind it.
A segment that only a migration or a person can help is parked, so that the others go on, and tried again now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from clickhouse_connect.driver.exceptions import Error

from relo_ingest import telemetry
from relo_ingest._fast.segment import Segment, SegmentDamaged
from relo_ingest.clickhouse.client import first_line
from relo_ingest.settings import Settings
from relo_ingest.spool.failures import Failure, classify
from relo_ingest.spool.insert import Inserter
from relo_ingest.spool.quarantine import Quarantine

log = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 10.0
PARKED_RETRY_S = 15.0
DAMAGED = ".damaged"


class Flusher:
    """Sends the segments of one lane, one at a time. Runs until cancelled."""

    def __init__(
        self, settings: Settings, lane: str, quarantine: Quarantine, on_retired: Callable[[Path], None]
    ) -> None:
        """``on_retired`` gets the path of each segment whose file is gone."""
        self._lane = lane
        self._quarantine = quarantine
        self._on_retired = on_retired
        self._inserter = Inserter(settings)
        self._queue: deque[Path] = deque()
        self._parked: list[Path] = []
        self._parked_until = 0.0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
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
        """Segments that wait to be sent, without the parked ones."""
        return len(self._queue)

    @property
    def parked(self) -> int:
        return len(self._parked)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is left to send; False when time ran out first."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._inserter.close()

    async def _run(self) -> None:
        while True:
            if self._parked and time.monotonic() >= self._parked_until:
                self._queue.extend(self._parked)
                self._parked.clear()
            if not self._queue:
                await self._wait_for_work()
                continue
            pause = await self._attempt(self._queue[0])
            if pause:
                await asyncio.sleep(pause)

    async def _wait_for_work(self) -> None:
        """Until a segment comes, or it is time to try the parked ones again."""
        self._idle.set()
        self._wake.clear()
        timeout = max(0.0, self._parked_until - time.monotonic()) if self._parked else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout)

    async def _attempt(self, path: Path) -> float:
        """Try the first of the queue; the seconds to wait before the next attempt."""
        try:
            await self._flush(path)
        except Exception as error:
            pause = self._failed(path, error)
        else:
            pause = self._succeeded(path)
        if pause:
            # An error and the frames it came through refer to each other, and to the segment's bytes: megabytes, which
            # the collector, that counts objects, would leave for minutes.
            gc.collect()
        return pause

    def _succeeded(self, path: Path) -> float:
        if self.failing_since is not None:
            log.info("inserts of %s work again", self._lane)
        self.failing_since = None
        self._failures = 0
        self._queue.popleft()
        self._on_retired(path)
        return 0.0

    def _failed(self, path: Path, error: Exception) -> float:
        verdict = classify(error)
        telemetry.FLUSH_FAILURES.labels(self._lane, verdict.value).inc()
        if verdict is Failure.PARK:
            log.error("segment %s is kept and needs a person: %s", path.name, first_line(error))
            self._parked.append(self._queue.popleft())
            self._parked_until = time.monotonic() + PARKED_RETRY_S
            return 0.0
        if self.failing_since is None:
            self.failing_since = time.monotonic()
        pause = min(FIRST_RETRY_S * float(1 << self._failures), LONGEST_RETRY_S)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 jitter, not a secret
        self._failures = min(self._failures + 1, 16)
        log.warning("segment %s not flushed, again in %.1f s: %s", path.name, pause, describe(error))
        return pause

    async def _flush(self, path: Path) -> None:
        """Insert the segment and delete its file. Raises whatever the insert raised."""
        try:
            segment = Segment.recover(str(path))
        except FileNotFoundError:
            log.error("segment %s is gone: somebody removed it", path.name)
            return
        except SegmentDamaged as error:
            telemetry.SEGMENTS_DAMAGED.inc()
            log.error("segment %s set aside: %s", path.name, error)
            path.rename(path.with_suffix(DAMAGED))
            return
        try:
            if segment.rows:
                await self._insert(segment)
            if segment.lost_rows:
                telemetry.ROWS_LOST.inc(segment.lost_rows)
                log.error("segment %s: %d rows were damaged and are lost", path.name, segment.lost_rows)
        finally:
            segment.close()
        path.unlink(missing_ok=True)

    async def _insert(self, segment: Segment) -> None:
        started = time.perf_counter()
        quarantined = 0
        try:
            await self._inserter.insert(segment)
        except Exception as error:
            if classify(error) is not Failure.BISECT:
                raise
            quarantined = await self._bisect(segment, 0, segment.rows, error)
        telemetry.FLUSH_SECONDS.labels(self._lane).observe(time.perf_counter() - started)
        telemetry.ROWS_FLUSHED.labels(self._lane).inc(segment.rows - quarantined)
        telemetry.ROWS_QUARANTINED.labels(self._lane).inc(quarantined)

    async def _bisect(self, segment: Segment, first: int, last: int, error: Exception) -> int:
        """Insert the good rows of a range that ClickHouse refused as a whole; the number of bad ones.

        Ranges, and so their tokens, follow from the segment alone: after a crash the same ranges are sent again,
        and those that landed are dropped.
        """
        if last - first == 1:
            self._quarantine.add(segment, first, first_line(error))
            log.error("row %d of segment %s quarantined: %s", first, segment.segment_id, describe(error))
            return 1
        middle = (first + last) // 2
        quarantined = 0
        for start, end in ((first, middle), (middle, last)):
            try:
                await self._inserter.insert(segment, start, end)
            except Exception as failed:
                if classify(failed) is not Failure.BISECT:
                    raise
                quarantined += await self._bisect(segment, start, end, failed)
        return quarantined


def describe(error: Exception) -> str:
    """For a log: ClickHouse's code and its name without its words, which may quote a row."""
    if isinstance(error, Error) and error.code is not None:
        return f"ClickHouse error {error.code} {error.name or ''}".strip()
    return first_line(error)
