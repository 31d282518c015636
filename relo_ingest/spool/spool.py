"""The spool of one process: two lanes, their flushers, and the orphans of the dead."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from relo_ingest import telemetry
from relo_ingest.errors import ReloError
from relo_ingest.events import Event
from relo_ingest.settings import Settings
from relo_ingest.spool.directory import OwnedDirectory, adopt_orphans, usage
from relo_ingest.spool.flusher import Flusher
from relo_ingest.spool.lane import Lane, LaneRules
from relo_ingest.spool.quarantine import Quarantine

log = logging.getLogger(__name__)

TICK_S = 0.1
ADOPT_EVERY_S = 2.0
BACKLOG_TO_FILL_UP = 4
"""While this many segments wait, age no longer seals: during an outage full segments beat many small files."""

PAYMENTS_CAPACITY = 4 << 20
PAYMENTS_ROWS = 4_000
PAYMENTS_SHARE = 8
"""One part in so many of the cap is out of reach for beacons: an outage fills the rest with them, and then money must
still be taken."""


class SpoolUnusable(ReloError):
    """The spool's directory cannot be written."""


class Spool:
    """The spool, one per process. Its two ways in exist once it is started."""

    append: Callable[[Event], None]
    """Commit a beacon or click: see Lane.append."""
    append_durably: Callable[[Event], Awaitable[None]]
    """Commit a payment to disk: see Lane.append_durably."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.data_path / "spool"
        self._own: OwnedDirectory | None = None
        self._adopted: dict[Path, tuple[OwnedDirectory, set[Path]]] = {}
        self._disk_bytes = 0
        self._task: asyncio.Task[None] | None = None
        quarantine = Quarantine(settings.data_path / "quarantine")
        self._flushers = {name: Flusher(settings, name, quarantine, self._retired) for name in ("beacons", "payments")}
        self._lanes: dict[str, Lane] = {}

    def start(self) -> None:
        """Open the directory and begin to flush. Raises SpoolUnusable."""
        try:
            self._own = OwnedDirectory.create(self._root)
        except OSError as error:
            raise SpoolUnusable(f"{self._root}: cannot be written: {error.strerror}; check RELO_DATA_DIR") from None
        spool = self._settings.spool
        payments_bytes = min(PAYMENTS_CAPACITY, spool.segment_bytes)
        for rules, reserve in (
            (
                LaneRules("beacons", False, spool.segment_bytes, spool.segment_rows, spool.max_age_ms),
                lambda size: self._reserve(size, self._kept_for_payments),
            ),
            (LaneRules("payments", True, payments_bytes, PAYMENTS_ROWS, spool.max_age_ms), self._reserve),
        ):
            flusher = self._flushers[rules.name]
            self._lanes[rules.name] = Lane(rules, self._own.path, flusher.add, reserve)
        self.append = self._lanes["beacons"].append
        self.append_durably = self._lanes["payments"].append_durably
        for flusher in self._flushers.values():
            flusher.start()
        self._task = asyncio.create_task(self._run(), name="spool")

    @property
    def failing_for_s(self) -> float:
        """Seconds since inserts stopped working; 0 while they work."""
        now = time.monotonic()
        return max((now - f.failing_since for f in self._flushers.values() if f.failing_since), default=0.0)

    @property
    def is_full(self) -> bool:
        """Whether beacons are refused; payments are taken a while longer."""
        return not self._has_room(self._settings.spool.segment_bytes, self._kept_for_payments)

    @property
    def _kept_for_payments(self) -> int:
        return self._settings.spool.cap_bytes // PAYMENTS_SHARE

    async def stop(self, deadline_s: float) -> None:
        """Seal everything and flush what the deadline allows; the rest stays on disk for the next process."""
        until = time.monotonic() + deadline_s
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for lane in self._lanes.values():
            await lane.close()
        for flusher in self._flushers.values():
            if not await flusher.drain(max(0.0, until - time.monotonic())):
                log.warning("%d segments stay on disk", flusher.backlog)
            await flusher.stop()
        for directory, _ in self._adopted.values():
            directory.release()
        if self._own is not None:
            self._own.release()

    def _reserve(self, size: int, kept: int = 0) -> bool:
        """Whether a new segment of ``size`` bytes may be."""
        if not self._has_room(size, kept):
            return False
        self._disk_bytes += size  # measured again soon, together with what other processes hold
        return True

    def _has_room(self, size: int, kept: int) -> bool:
        """Whether ``size`` bytes fit: within the cap, of which ``kept`` stay free, and above the floor of the disk."""
        if self._disk_bytes + size + kept > self._settings.spool.cap_bytes:
            return False
        disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize - size >= self._settings.spool.disk_floor_bytes

    async def _run(self) -> None:
        next_look = 0.0
        while True:
            now = time.monotonic()
            try:
                for name, lane in self._lanes.items():
                    if self._flushers[name].backlog < BACKLOG_TO_FILL_UP:
                        lane.seal_if_old(now)
                if now >= next_look:
                    next_look = now + ADOPT_EVERY_S
                    self._look_around()
            except Exception:  # nothing else seals by age: whatever is wrong, this goes on
                log.exception("a look at the spool failed")
            await asyncio.sleep(TICK_S)

    def _look_around(self) -> None:
        """Adopt what the dead left, and measure the disk."""
        try:
            for directory in adopt_orphans(self._root):
                paths = directory.segments()
                log.info("adopted %d segments of %s", len(paths), directory.path.name)
                telemetry.SEGMENTS_ADOPTED.inc(len(paths))
                if not paths:
                    directory.release()
                    continue
                self._adopted[directory.path] = (directory, set(paths))
                for path in paths:
                    self._flushers["payments" if path.name.startswith("payments-") else "beacons"].add(path)
            self._disk_bytes, oldest = usage(self._root)
            telemetry.SPOOL_BYTES.set(self._disk_bytes)
            telemetry.SPOOL_OLDEST.set(max(0.0, time.time() - oldest) if oldest else 0.0)
            telemetry.SPOOL_PARKED.set(sum(f.parked for f in self._flushers.values()))
        except OSError as error:
            log.error("spool directory: %s", error)

    def _retired(self, path: Path) -> None:
        adopted = self._adopted.get(path.parent)
        if adopted is not None:
            directory, left = adopted
            left.discard(path)
            if not left:
                del self._adopted[path.parent]
                directory.release()
