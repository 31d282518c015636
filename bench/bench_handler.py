"""A beacon without a server: what does our own code cost, above an application that only reads and answers?

Why: granian's part is not ours to change; this part is, and here it can be seen and profiled alone.
How: the real App (real spool on disk, ClickHouse away) and the null handler are called in turn with recorded
requests, blocks of 2,000 beacons each of another event id, in a fresh process on the server's core; CPU time of the
thread. The arrays are 100 beacons in one request.

``python -m bench.bench_handler profile`` prints where the time goes (cProfile).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import msgspec

from bench.harness import inprocess, machine
from bench.harness import requests as requests_of
from bench.harness.duel import Duel, Spread
from bench.harness.report import Answer, at_least, at_most
from bench.peers import null_handler

BLOCK, ARRAYS, ARRAY = 2_000, 40, 100
OVER_NULL_US = 6.0
EVENTS_PER_S = 400_000


class Measured(msgspec.Struct):
    """Microseconds per request, one value per block."""

    relo: list[float]
    null: list[float]
    array: list[float]


class _Block(msgspec.Struct):
    us: float


def answers(full: bool) -> Iterator[Answer]:
    found = machine.in_fresh_process(machine.SERVER, measure, 200 if full else 30)
    over = Spread.of([ours - floor for ours, floor in zip(found.relo, found.null, strict=True)])
    yield Answer(
        question="handler without a server, over the null handler",
        measured=f"{over.median:.1f} µs per beacon ({over.low:.1f}–{over.high:.1f})",
        target=f"≤ {OVER_NULL_US:g} µs",
        verdict=at_most(over, OVER_NULL_US),
        remark=f"medians: {Spread.of(found.relo).median:.1f} µs, null {Spread.of(found.null).median:.1f} µs",
        figures={"over_null_us": over, "relo_us": found.relo, "null_us": found.null},
    )
    rates = Spread.of([ARRAY / us * 1e6 for us in found.array])
    yield Answer(
        question=f"handler without a server, arrays of {ARRAY}",
        measured=f"{rates.median:,.0f} events/CPU-s ({rates.low:,.0f}–{rates.high:,.0f})",
        target=f"≥ {EVENTS_PER_S:,} on one core",
        ratio=f"{1e6 / rates.median:.2f} µs per event",
        verdict=at_least(rates, EVENTS_PER_S),
        figures={"array_us": found.array},
    )


def measure(rounds: int) -> Measured:
    """In this process; ``answers`` runs it in one of its own."""
    single, arrays = requests(BLOCK, 1), requests(ARRAYS, ARRAY)
    driver = inprocess.Driver()
    with inprocess.product() as app, driver.alive(app):
        duel = Duel(
            {
                "relo": lambda: _Block(driver.cpu_s(app, single) * 1e6),
                "null": lambda: _Block(driver.cpu_s(null_handler.app, single) * 1e6),
                "array": lambda: _Block(driver.cpu_s(app, arrays) * 1e6),
            }
        )
        duel.fight([], rounds)
    return Measured(*(duel.figures(name, "us") for name in ("relo", "null", "array")))


def requests(count: int, events: int) -> list[tuple[inprocess.Message, bytes]]:
    """Requests of one beacon, or of arrays, every event with an id of its own."""
    from relo_ingest._fast import ulid

    now = time.time_ns() // 1_000_000
    bodies = []
    for _ in range(count):
        beacons = [requests_of.page_view(ulid.new(), now) for _ in range(events)]
        bodies.append(msgspec.json.encode(beacons if events > 1 else beacons[0]))
    return [(inprocess.scope("/e", body), body) for body in bodies]


def profile() -> None:
    """cProfile of single beacons: shares are right, absolute times are inflated."""
    import cProfile
    import pstats

    single, driver, profiler = requests(BLOCK, 1), inprocess.Driver(), cProfile.Profile()
    with inprocess.product() as app, driver.alive(app):
        driver.cpu_s(app, single)
        profiler.enable()
        for _ in range(10):
            driver.cpu_s(app, single)
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__" and sys.argv[1:] == ["profile"]:
    profile()
