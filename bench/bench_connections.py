"""Connections: what becomes of throughput, and of what a request costs, between one sender and a thousand?

Why: a busy ingest stands behind a proxy with few connections or before browsers with very many, and must not fall over
at either end. More connections mean more requests per turn of the event loop: a request becomes cheaper, up to a point.
How: one page view per request, as in ``bench_beacon``, over 1, 16, 64, 256 and 1,024 kept-alive connections, on
`relo ingest`, the null application on granian, and in the full form FastAPI + pydantic on uvicorn.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import servers, versus
from bench.harness.duel import Duel
from bench.harness.load import Run
from bench.harness.report import Answer, Curve

CONNECTIONS = (1, 16, 64, 256, 1024)
OF_NULL = {64: 0.90, 256: 0.90}


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        contenders: dict[str, versus.Contender] = {
            "relo": (servers.Product(where).ingest, "beacon", ()),
            "null on granian": (where.peer("null", "null_asgi", "granian"), "beacon", ()),
        }
        if full:
            contenders["fastapi on uvicorn"] = (where.peer("fastapi", "fastapi_pydantic", "uvicorn"), "beacon", ())
        duels = {n: versus.fight(contenders, n, 10 if full else 1) for n in CONNECTIONS}
    curves = [_curve(duels, name) for name in contenders]
    for connections, duel in duels.items():
        found = versus.answer(
            duel,
            "null on granian",
            f"beacon, {connections:,} connections, against null on granian",
            target=OF_NULL.get(connections, 0),
            remark=versus.details(duel, "relo"),
        )
        found.curves, curves = curves, []
        yield found


def _curve(duels: dict[int, Duel[Run]], name: str) -> Curve:
    spreads = {n: duel.spread(name, "per_s") for n, duel in duels.items()}
    x = [float(n) for n in spreads]
    return Curve(
        "connections",
        name,
        x,
        [s.median for s in spreads.values()],
        [s.low for s in spreads.values()],
        [s.high for s in spreads.values()],
    )
