"""Memory of an ingest process at full load, and while ClickHouse is away and comes back.

Why: events that cannot be sent wait on disk, never in memory; the proof is a resident size that stays flat.
How: 64 connections send beacons as fast as they are taken; the resident size of the largest ingest process is looked
at four times a second. Then ClickHouse is killed (SIGKILL) under the same load, and started again, and the
backlog is drained. The spool's cap is lowered to 1 GiB here, to spare the disk: when it is reached within the outage,
503 is the right answer, so those are counted and are no errors. Mapped segments count as resident (at most one open
per lane); anonymous memory is given beside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from bench.harness import load, machine, servers
from bench.harness.report import MET, NOT_MET, Answer

MOST_MB = 150
LOOK_EVERY_S = 0.25
CAP_BYTES = 1 << 30
DRAIN_S = 20


class Watch:
    """Sizes of the largest process of a tree while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.resident_mb: list[float] = []
        self.anonymous_mb: list[float] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            resident, anonymous = machine.largest_rss(self._pid)
            self.resident_mb.append(resident / 1e6)
            self.anonymous_mb.append(anonymous / 1e6)

    def answer(self, question: str, remark: str) -> Answer:
        highest = max(self.resident_mb)
        return Answer(
            question,
            f"highest {highest:.0f} MB (anonymous {max(self.anonymous_mb):.0f}), "
            f"first {self.resident_mb[0]:.0f}, last {self.resident_mb[-1]:.0f}",
            f"< {MOST_MB} MB",
            "",
            MET if highest < MOST_MB else NOT_MET,
            remark,
            {"resident_mb": self.resident_mb, "anonymous_mb": self.anonymous_mb},
        )


def answers(full: bool) -> Iterator[Answer]:
    load_s, outage_s = (60, 300) if full else (10, 20)
    with servers.directory() as where:
        product = servers.Product(where, RELO_SPOOL_CAP_BYTES=CAP_BYTES)
        ingest = product.ingest
        with Watch(ingest.pid) as watch:
            run = load.run(ingest, "beacon", 64, load_s)
        pace = f"{run.per_s:,.0f}/s, server {run.busy:.0%} busy"
        yield watch.answer(f"memory, {load_s} s of full load", f"{run.requests:,} beacons, {pace}, {run.errors} errors")
        with Watch(ingest.pid) as watch:
            product.clickhouse.kill()
            run = load.run(ingest, "beacon", 64, outage_s)
        yield watch.answer(
            f"memory, {outage_s} s without ClickHouse",
            f"{run.requests:,} beacons taken, {run.errors:,} refused (503 at the cap of {CAP_BYTES >> 20} MiB)",
        )
        with Watch(ingest.pid) as watch:
            waiting = _waiting(where)
            product.start_clickhouse()
            started = time.monotonic()
            while _waiting(where) > 2 and time.monotonic() < started + (10 if full else 1) * DRAIN_S:
                time.sleep(LOOK_EVERY_S)
            took, left = time.monotonic() - started, _waiting(where)
        drained = f"{waiting - left} of {waiting} segments in {took:.1f} s, nothing else sent"
        yield watch.answer("memory, while the backlog drains", drained)


def _waiting(where: servers.Directory) -> int:
    return sum(1 for _ in where.path.glob("*/spool/*/*.sealed"))
