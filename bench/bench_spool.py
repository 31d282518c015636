"""The spool: what does a row on disk cost, and how few syncs do payments need?

Why: every 2xx waits for a committed row; a payment's also for the disk. The first must cost less than the request's
parsing, the second must be shared by all who wait (`spool/sync`).
How: appends of one page view to a mapped segment on disk, blocks in turn with a plain `write(2)` of the same bytes:
what a log file would cost. Then payments through the real lane (`Lane.append_durably`), 1 and 64 waiting at a time,
against one `fdatasync` for each row. Wall-clock, since a disk is waited for.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench.harness import machine, micro, rows
from bench.harness.duel import Duel, Spread
from bench.harness.report import NO_TARGET, Answer
from relo_ingest._fast import rowbinary
from relo_ingest.spool.lane import Lane, LaneRules

ROW_US = 0.6
CALLS = 20_000
PAYMENTS, LONE_SYNCS = 2_000, 200
WAITING = (1, 64)


class Rate(msgspec.Struct):
    per_s: float


def answers(full: bool) -> Iterator[Answer]:
    ns = machine.in_fresh_process(machine.SERVER, measure_append, 60 if full else 15)
    yield micro.within(ns, "append", "a row into the segment", ROW_US)
    yield micro.faster(ns, "append", "write(2)", "a row into the segment, against write(2)")
    per_s = machine.in_fresh_process(machine.SERVER, measure_sync, 30 if full else 7)
    lone = per_s.pop("fdatasync for each")
    for name, ours in per_s.items():
        ratio, rate = Spread.of_ratio(ours, lone), Spread.of(ours)
        yield Answer(
            question=f"payments on disk, {name}, against a sync for each",
            measured=f"{rate.median:,.0f}/s ({rate.low:,.0f}–{rate.high:,.0f}) against {Spread.of(lone).median:,.0f}/s",
            ratio=ratio.times("as many"),
            verdict=NO_TARGET,
            figures={name: ours, "fdatasync for each": lone},
        )


def measure_append(rounds: int) -> micro.Nanoseconds:
    with tempfile.TemporaryDirectory(prefix="relo-bench-") as path, tempfile.TemporaryFile() as file:
        row = rowbinary.encode(rows.page_view())
        units: dict[str, micro.Unit] = {
            "append": (rows.Appender(Path(path)), CALLS),
            "write(2)": (partial(os.pwrite, file.fileno(), row, 0), CALLS),
        }
        return micro.measure(units, rounds)


def measure_sync(rounds: int) -> dict[str, list[float]]:
    """Payments a second."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory(prefix="relo-bench-") as path:
        rules = LaneRules("payments", True, 4 << 20, 4_000, 1_000)
        lane = Lane(rules, Path(path), Path.unlink, lambda size: True)
        row = rowbinary.encode(rows.page_view())
        duel = Duel(
            {f"{n} at a time": partial(_shared, runner, lane, n) for n in WAITING}
            | {"fdatasync for each": partial(_lone, Path(path), row)}
        )
        duel.fight([], rounds)
        runner.run(lane.close())
    return {name: duel.figures(name, "per_s") for name in duel.runs}


def _shared(runner: asyncio.Runner, lane: Lane, waiting: int) -> Rate:
    event = rows.page_view()
    each = PAYMENTS // 4 // waiting if waiting == 1 else PAYMENTS // waiting

    async def sender() -> None:
        for _ in range(each):
            await lane.append_durably(event)

    async def all_of_them() -> None:
        await asyncio.gather(*(sender() for _ in range(waiting)))

    started = time.perf_counter()
    runner.run(all_of_them())
    return Rate(each * waiting / (time.perf_counter() - started))


def _lone(directory: Path, row: bytes) -> Rate:
    with (directory / "lone").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)
        os.fsync(file.fileno())
        started = time.perf_counter()
        for i in range(LONE_SYNCS):
            os.pwrite(file.fileno(), row, i * len(row))
            os.fdatasync(file.fileno())
        return Rate(LONE_SYNCS / (time.perf_counter() - started))


def test_append(benchmark: Any, tmp_path: Path) -> None:
    benchmark(rows.Appender(tmp_path))
