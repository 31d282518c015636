"""The flush: how fast do sealed segments reach ClickHouse, and how much of that is the engine's own time?

Why: the flush must outrun what comes in, or the spool grows; after an outage it decides how long the catching-up takes.
How: sealed segments of 20,000 page views each are handed to the real flusher (`spool/flusher`), one after the other, in
a process on the server's core, into the embedded engine on its own; in turn with clickhouse-connect's `insert` of the
same rows as tuples in blocks of the same size. Rows a second by the clock, since that is what drains a backlog; CPU
time of the engine per row beside. Segments are written before the clock starts: that part is ``bench_spool``.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from bench.bench_rows import as_tuple, column_types
from bench.harness import machine, rows, servers
from bench.harness.duel import Duel, Spread
from bench.harness.report import Answer
from relo_ingest.clickhouse.client import INSERT_SETTINGS, connect_async
from relo_ingest.events import COLUMNS
from relo_ingest.settings import ClickHouse, Settings
from relo_ingest.spool.flusher import Flusher
from relo_ingest.spool.quarantine import Quarantine

SEGMENTS = 2


class Flushed(msgspec.Struct):
    rows_per_s: float
    engine_us: float
    """CPU microseconds of the engine per row."""


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        engine = servers.Product(where).clickhouse
        runs = machine.in_fresh_process(machine.SERVER, measure, engine.port, engine.pid, 20 if full else 5)
    ours, theirs = (Spread.of([run.rows_per_s for run in runs[name]]) for name in ("flush", "client.insert"))
    engine_us = Spread.of([run.engine_us for run in runs["flush"]])
    yield Answer(
        question=f"flush of segments of {rows.MOST_ROWS:,} rows, against client.insert",
        measured=f"{ours.median:,.0f} rows/s ({ours.low:,.0f}–{ours.high:,.0f}) against {theirs.median:,.0f}",
        ratio=Spread.of_ratio(ours.values, theirs.values).times("as fast"),
        remark=f"the engine takes {engine_us.median:.1f} µs CPU per row ({engine_us.low:.1f}–{engine_us.high:.1f}), "
        "views and fsync included",
        figures={"runs": runs},
    )


def measure(port: int, engine_pid: int, rounds: int) -> dict[str, list[Flushed]]:
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory(prefix="relo-bench-") as path:
        settings = Settings(clickhouse=ClickHouse(embedded_port=port))
        duel = Duel(
            {
                "flush": partial(_flush, runner, settings, Path(path), engine_pid),
                "client.insert": partial(_insert, runner, settings, engine_pid),
            }
        )
        duel.fight([], rounds)
    return duel.runs


def _flush(runner: asyncio.Runner, settings: Settings, directory: Path, engine_pid: int) -> Flushed:
    paths = [_segment(directory) for _ in range(SEGMENTS)]

    async def drain() -> None:
        flusher = Flusher(settings, "beacons", Quarantine(directory / "quarantine"), lambda path: None)
        for path in paths:
            flusher.add(path)
        flusher.start()
        assert await flusher.drain(60)
        await flusher.stop()

    before, started = machine.cpu_s(engine_pid), time.perf_counter()
    runner.run(drain())
    elapsed, spent = time.perf_counter() - started, machine.cpu_s(engine_pid) - before
    total = SEGMENTS * rows.MOST_ROWS
    return Flushed(total / elapsed, 1e6 * spent / total)


def _segment(directory: Path) -> Path:
    with rows.filled_segment(directory, [rows.page_view() for _ in range(rows.MOST_ROWS)]) as segment:
        return Path(segment.path)


def _insert(runner: asyncio.Runner, settings: Settings, engine_pid: int) -> Flushed:
    tuples = [as_tuple(rows.page_view()) for _ in range(rows.MOST_ROWS)]
    names = [c.name for c in COLUMNS]

    async def insert() -> float:
        client = await connect_async(settings)
        types = await column_types(client)
        started = time.perf_counter()
        await client.insert("events", tuples, names, column_type_names=types, settings=INSERT_SETTINGS)
        elapsed = time.perf_counter() - started
        await client.close()
        return elapsed

    before = machine.cpu_s(engine_pid)
    elapsed = runner.run(insert())
    return Flushed(rows.MOST_ROWS / elapsed, 1e6 * (machine.cpu_s(engine_pid) - before) / rows.MOST_ROWS)
