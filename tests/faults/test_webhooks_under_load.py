"""Two hundred webhooks at a time while ClickHouse is away for ten seconds: all answered, none lost, none counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import aiohttp

from support.load import Load, Request, payment
from support.processes import eventually
from support.soak import scaled
from support.stack import Stack

AWAY_S = 10
CONNECTIONS = 200


class TimedLoad(Load):
    """Notes how long each answer took, in seconds."""

    latencies: list[float]

    async def _send_one(self, session: aiohttp.ClientSession, base_url: str, request: Request) -> bool:
        started = time.perf_counter()
        refused = await super()._send_one(session, base_url, request)
        self.latencies.append(time.perf_counter() - started)
        return refused


def test_two_hundred_at_a_time_are_answered_while_clickhouse_is_away(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    ingest = stack.start_ingest()
    load = TimedLoad(ingest.base_url, stack.ledger, {payment: 1}, connections=CONNECTIONS, pause_s=0.2)
    load.latencies = []
    with load:
        load.go_on(500)
        for _ in range(scaled(1, 6)):
            stack.proxy.refuse()
            load.go_on_for(AWAY_S)
            stack.proxy.accept()
            load.go_on(500)
    took = sorted(load.latencies)
    p50, p99 = took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000
    record_property("webhook_p99_ms", round(p99, 1))
    print(f"{len(took)} webhooks over {CONNECTIONS} connections: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    assert set(load.statuses) == {200}
    eventually(lambda: not list((stack.data_dir / "spool").glob("*/*.sealed")), "everything is flushed")
    stack.verify()
    assert ingest.stop() == 0
