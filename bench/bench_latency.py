"""A beacon at a fixed rate: how long does the sender wait, while the server is far from its limit?

Why: at the ceiling every latency is a queue; what a page's visitor meets is the latency at an everyday rate, and its
tail (a flush, a sealed segment, the collector) hides in a generator that waits for answers.
How: ``harness/openloop.py`` sends beacons at 2,000 a second whatever the answers do, and measures from when each was
due. In turn: ours with ClickHouse behind it, the null application on granian, FastAPI + pydantic on uvicorn without
storage. How late the generator was is part of every figure, and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.harness import openloop, requests, servers
from bench.harness.duel import Duel
from bench.harness.openloop import PERCENTILES, Sent
from bench.harness.report import ERRORS, NO_TARGET, Answer, Curve

RATE = 2_000


def answers(full: bool) -> Iterator[Answer]:
    seconds = 20 if full else 1
    with servers.directory() as where:
        contenders = {
            "relo": servers.Product(where).ingest,
            "null on granian": where.peer("null", "null_asgi", "granian"),
            "fastapi on uvicorn": where.peer("fastapi", "fastapi_pydantic", "uvicorn"),
        }
        duel = Duel(
            {name: partial(openloop.run, s.port, requests.beacon, RATE, seconds) for name, s in contenders.items()}
        )
        duel.fight([])
    for name in contenders:
        yield _answer(duel, name)


def _answer(duel: Duel[Sent], name: str) -> Answer:
    p50, p99, p999 = (duel.spread(name, figure) for figure in ("p50_ms", "p99_ms", "p999_ms"))
    runs = duel.runs[name]
    pooled = sorted(ms for run in runs for ms in run.latencies_ms)
    errors = sum(run.errors for run in runs)
    return Answer(
        question=f"latency at {RATE:,}/s, {name}",
        measured=f"p50 {p50.median:.2f} ms, p99 {p99.median:.2f} ms, p99.9 {p999.median:.2f} ms",
        verdict=ERRORS if errors else NO_TARGET,
        remark=f"{len(runs)} runs, p50 {p50.low:.2f}–{p50.high:.2f}, p99 {p99.low:.2f}–{p99.high:.2f}, "
        f"p99.9 {p999.low:.2f}–{p999.high:.2f} ms, {errors} errors; "
        f"p99 of the generator's own lateness {duel.spread(name, 'late_p99_ms').median:.2f} ms",
        headline=f"Latency of a beacon at {RATE:,} a second" if name == "relo" else "",
        curves=[
            Curve("latency", name, [*PERCENTILES], [openloop.percentile(pooled, p) for p in PERCENTILES]),
        ],
        figures={"p50_ms": p50, "p99_ms": p99, "p999_ms": p999},
    )
