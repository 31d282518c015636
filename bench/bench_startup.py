"""Start-up: how long from the command until requests are taken?

Why: a restart, a new machine and a process that died and is replaced all wait for this, and senders with them.
How: `relo ingest` on a prepared data directory with ClickHouse up, from the command to the first 200 of /health/ready,
in turn with FastAPI + pydantic on uvicorn and the null application on granian, to their first answer. Wall-clock,
asked every 10 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from bench.harness import servers
from bench.harness.duel import Duel, Spread
from bench.harness.report import Answer


class Started(msgspec.Struct):
    seconds: float


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        product = servers.Product(where)
        product.ingest.stop()
        duel = Duel(
            {
                "relo": partial(_timed, product.start_ingest),
                "null on granian": partial(_timed, partial(where.peer, "null", "null_asgi", "granian")),
                "fastapi on uvicorn": partial(_timed, partial(where.peer, "fastapi", "fastapi_pydantic", "uvicorn")),
            }
        )
        duel.fight([], 15 if full else 5)
    for name in duel.runs:
        seconds = duel.spread(name, "seconds")
        yield Answer(
            question=f"start-up, {name}",
            measured=f"{seconds.median:.2f} s ({seconds.low:.2f}–{seconds.high:.2f})",
            ratio="" if name == "relo" else _ratio(duel.ratio("relo", name, "seconds")),
            figures={"seconds": seconds},
        )


def _ratio(relo_takes: Spread) -> str:
    return relo_takes.times("as long for relo")


def _timed(start: Callable[[], servers.Server]) -> Started:
    started = time.perf_counter()
    server = start()
    elapsed = time.perf_counter() - started
    server.stop()
    return Started(elapsed)
