"""Rows for ClickHouse: what does it cost the sender to encode and send them, ours against `client.insert`?

Why: an event is encoded once, into the bytes that ClickHouse reads; nothing is collected, pivoted or encoded again.
How: 5,000 page views, all columns of ``events``, into the embedded engine. Ours: each is written into a segment and the
segment is sent (`spool/insert`). Theirs: clickhouse-connect's async `insert` of the same rows as tuples, with the
column types known beforehand, as its documentation recommends. CPU time of the sending process, in a fresh one; the
engine's time is the same question for both and is left out. The file of a segment is part of ours.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from bench.harness import machine, micro, rows, servers
from bench.harness.duel import Duel
from bench.harness.report import Answer
from relo_ingest._fast import rowbinary
from relo_ingest.clickhouse.client import INSERT_SETTINGS, connect_async
from relo_ingest.events import COLUMNS, SCALE, Event
from relo_ingest.settings import ClickHouse, Settings
from relo_ingest.spool.insert import Inserter

ROWS = 5_000


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        port = servers.Product(where).clickhouse.port
        ns = machine.in_fresh_process(machine.SERVER, measure, port, 30 if full else 7)
    yield micro.faster(
        ns, "ours", "client.insert", f"a row of {ROWS:,}, encoded and sent, against client.insert",
        headline="Encoding and sending a row against clickhouse-connect's `insert`",
    )  # fmt: skip


def measure(port: int, rounds: int) -> micro.Nanoseconds:
    """CPU nanoseconds per row."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory(prefix="relo-bench-") as path:
        settings = Settings(clickhouse=ClickHouse(embedded_port=port))
        events = [rows.page_view() for _ in range(ROWS)]
        tuples = [as_tuple(event) for event in events]
        inserter = Inserter(settings)
        client = runner.run(connect_async(settings))

        async def ours() -> None:
            with rows.filled_segment(Path(path), events) as segment:
                await inserter.insert(segment)
                Path(segment.path).unlink()

        types = runner.run(column_types(client))

        async def theirs() -> None:
            names = [c.name for c in COLUMNS]
            await client.insert("events", tuples, names, column_type_names=types, settings=INSERT_SETTINGS)

        duel = Duel({"ours": partial(_cpu, runner, ours), "client.insert": partial(_cpu, runner, theirs)})
        duel.fight([], rounds)
        runner.run(inserter.close())
        runner.run(client.close())
    return {name: duel.figures(name, "ns") for name in duel.runs}


async def column_types(client: AsyncClient) -> list[str]:
    """Of COLUMNS, as ClickHouse names them: with these `insert` need not ask for them each time."""
    described = {row[0]: row[1] for row in (await client.query("DESCRIBE TABLE events")).result_rows}
    return [described[c.name] for c in COLUMNS]


def _cpu(runner: asyncio.Runner, work: Callable[[], Awaitable[None]]) -> micro.Block:
    started = time.process_time_ns()
    runner.run(work())  # type: ignore[arg-type]
    return micro.Block((time.process_time_ns() - started) / ROWS)


def as_tuple(event: Event) -> tuple[Any, ...]:
    """The values as clickhouse-connect wants them."""
    values = msgspec.structs.asdict(event)
    for column in COLUMNS:
        value = values[column.name]
        if column.kind == "ms":
            values[column.name] = datetime.fromtimestamp(value / 1000, UTC)
        elif column.kind == "decimal4":
            values[column.name] = Decimal(value) / SCALE
        elif column.kind == "json":
            values[column.name] = msgspec.json.decode(value)
    return tuple(values.values())


def test_encode(benchmark: Any) -> None:
    assert benchmark(rowbinary.encode, rows.page_view())


def test_encode_reference(benchmark: Any) -> None:
    """msgspec's MessagePack of the same event: what a good general encoder takes."""
    assert benchmark(msgspec.msgpack.Encoder().encode, rows.page_view())
