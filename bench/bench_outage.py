"""ClickHouse away, and back: does everybody get their 2xx, does memory stay flat, how long does the catching-up take?

Why: ClickHouse is restarted, upgraded, and falls over. Senders must not notice, and nobody should have to do anything.
How: ClickHouse is killed (SIGKILL) under load and stays away until a backlog lies on disk: in the full form 10 minutes
of 2,000 beacons a second (``harness/openloop.py``), in the short one what comes in at full speed in a quarter of a
minute. Then it is started, while 2,000 a second go on coming, and timed until no more waits than these bring.
At the end the rows in ClickHouse are counted. The plot shows what waits on disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.harness import load, openloop, requests, servers
from bench.harness.report import ERRORS, MET, NOT_MET, Answer, Curve
from bench.harness.watch import Watch, resident_mb

RATE = 2_000
MOST_MB = 150
FULL_OUTAGE_S, SHORT_OUTAGE_S = 600, 15
ONE_SEGMENT = 10 << 20
"""Bytes: once no more wait, the backlog is gone, since a second's beacons are always under way."""
PATIENCE_S = 600


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        product = servers.Product(where)
        pid, port = product.ingest.pid, product.ingest.port
        with Watch(lambda: product.waiting_bytes() / 1e6) as waiting, Watch(resident_mb(pid)) as memory:
            product.clickhouse.kill()
            if full:
                sent = openloop.run(port, requests.beacon, RATE, FULL_OUTAGE_S)
                taken, errors = sent.requests - sent.errors, sent.errors
            else:
                run = load.run(product.ingest, "beacon", 64, SHORT_OUTAGE_S)
                taken, errors = run.requests, run.errors
            backlog_mb = product.waiting_bytes() / 1e6
            took_s, meanwhile = _drain(product)
        stored = product.events_in_clickhouse()
    answered = taken + len(meanwhile.latencies_ms)
    errors += meanwhile.errors
    question = f"outage of {FULL_OUTAGE_S if full else SHORT_OUTAGE_S} s"
    yield Answer(
        question=f"{question}: catching up, {RATE:,}/s coming in",
        measured=f"{taken:,} beacons ({backlog_mb:,.0f} MB) in {took_s:.1f} s: "
        f"{taken / took_s:,.0f}/s beside what comes in",
        ratio=f"10 minutes of {RATE:,}/s in {RATE * 600 * took_s / taken:,.0f} s" + ("" if full else ", projected"),
        remark=f"while it caught up: p50 {meanwhile.p50_ms:.2f} ms, p99 {meanwhile.p99_ms:.2f} ms of "
        f"{meanwhile.requests:,} beacons",
        verdict=ERRORS if errors else MET,
        target="no error",
        headline=f"Catching up after ClickHouse was away, with {RATE:,} beacons a second coming in",
        curves=[Curve("outage", "waiting on disk", waiting.seconds, waiting.values)],
    )
    highest = max(memory.values)
    yield Answer(
        question=f"{question}: memory",
        measured=f"highest {highest:.0f} MB, first {memory.values[0]:.0f}, last {memory.values[-1]:.0f}",
        target=f"< {MOST_MB} MB",
        verdict=MET if highest < MOST_MB else NOT_MET,
        curves=[Curve("outage", "memory of the ingest", memory.seconds, memory.values)],
    )
    yield Answer(
        question=f"{question}: beacons answered 2xx are in ClickHouse",
        measured=f"{answered:,} answered, {stored:,} rows",
        target="no fewer rows",
        verdict=MET if stored >= answered else NOT_MET,
    )


def _drain(product: servers.Product) -> tuple[float, openloop.Sent]:
    """Seconds until the backlog is gone, and what was sent meanwhile, in runs of five seconds."""
    parts = []
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        took: float | None = None
        restart = pool.submit(_until_drained, product, started)
        while took is None:
            parts.append(openloop.run(product.ingest.port, requests.beacon, RATE, 5))
            took = restart.result() if restart.done() else None
    return took, openloop.together(parts)


def _until_drained(product: servers.Product, started: float) -> float:
    product.start_clickhouse()
    while product.waiting_bytes() > ONE_SEGMENT:
        if time.monotonic() > started + PATIENCE_S:
            raise RuntimeError(f"{product.waiting_bytes() >> 20} MiB still wait after {PATIENCE_S} s")
        time.sleep(0.05)
    return time.monotonic() - started
