"""A beacon through the real server: how much of what granian can do is left, and how far behind are the alternatives?

Why: beacons are nearly all of the traffic, so what one costs decides how many machines an operator pays for.
How: wrk sends one realistic page view per request (``loads/beacon.lua``), every one another event, over 64 kept-alive
connections, to `relo ingest` with ClickHouse behind it and everything on (validation, registry, quota, segment, flush)
and to each contender of ``peers/``. The null application is the floor: whatever lies between it and us is our own. It
comes in two forms: one reads a body as ASGI says, the other stops where Content-Length says, as ours does.
nginx logs a query instead (``peers/nginx.py``), Node parses and forgets, FastAPI validates and forgets; only the last
contender stores, as one insert per request does. At the end the rows in ClickHouse are counted: a beacon that was
answered and is not there would make it all void. Other numbers of connections: ``bench_connections``; latency at a
fixed rate: ``bench_latency``.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import load, machine, requests, servers, versus
from bench.harness.duel import Duel
from bench.harness.report import MET, NOT_MET, Answer

CONNECTIONS = 64
OF_NULL, OF_FASTAPI = 0.90, 5.0
QUERIES = 20_000


def answers(full: bool) -> Iterator[Answer]:
    seconds = 10 if full else 1
    with servers.directory() as where:
        product = servers.Product(where)
        queries = requests.write(where.path / "queries", (requests.beacon_in_query() for _ in range(QUERIES)))
        contenders: dict[str, versus.Contender] = {
            "relo": (product.ingest, "beacon", ()),
            "null on granian": (where.peer("null-granian", "null_asgi", "granian"), "beacon", ()),
            "null that counts on granian": (where.peer("null-told", "null_asgi", "granian", "told"), "beacon", ()),
            "null on uvicorn": (where.peer("null-uvicorn", "null_asgi", "uvicorn"), "beacon", ()),
            "fastapi on uvicorn": (where.peer("fastapi-uvicorn", "fastapi_pydantic", "uvicorn"), "beacon", ()),
            "fastapi on granian": (where.peer("fastapi-granian", "fastapi_pydantic", "granian"), "beacon", ()),
            "node": (where.peer("node", "node"), "beacon", ()),
            "nginx's log": (where.peer("nginx", "nginx"), "replay", (str(queries),)),
        }
        engine_before = machine.cpu_s(product.clickhouse.pid)
        duel = versus.fight(contenders, CONNECTIONS, seconds)
        engine_us = (
            1e6 * (machine.cpu_s(product.clickhouse.pid) - engine_before) / sum(duel.figures("relo", "requests"))
        )
        yield from _answers(duel, f"{versus.details(duel, 'relo')}; ClickHouse {engine_us:.0f} µs CPU per beacon")
        inserting = _against_inserts(where, product, 2 * seconds)
        yield versus.answer(
            inserting,
            "fastapi with inserts",
            "beacon, against fastapi with inserts",
            headline="… against FastAPI + pydantic with one insert per request",
        )
        answered = sum(duel.figures("relo", "requests")) + sum(inserting.figures("relo", "requests"))
        stored = product.events_in_clickhouse()
        yield Answer(
            question="beacons answered 2xx are in ClickHouse",
            measured=f"{answered:,.0f} answered in the runs above, {stored:,} rows",
            target="no fewer rows",
            verdict=MET if stored >= answered else NOT_MET,
            remark="more rows than answers: those of the warm-up, and those that were under way when wrk stopped",
        )


def _against_inserts(where: servers.Directory, product: servers.Product, seconds: int) -> Duel[load.Run]:
    """By itself: its requests wait for ClickHouse, so few come out of a run, and runs must be longer."""
    port = servers.free_port()
    where.engine("peer-clickhouse", where.path / "peer-data", port)
    contenders: dict[str, versus.Contender] = {
        "relo": (product.ingest, "beacon", ()),
        "fastapi with inserts": (where.peer("fastapi-inserts", "fastapi_clickhouse", str(port)), "beacon", ()),
    }
    return versus.fight(contenders, CONNECTIONS, seconds)


def _answers(duel: Duel[load.Run], ours: str) -> Iterator[Answer]:
    targets = {"null on granian": OF_NULL, "fastapi on uvicorn": OF_FASTAPI, "fastapi on granian": OF_FASTAPI}
    headlines = {
        "null on granian": "A beacon against a null ASGI application on the same server",
        "fastapi on uvicorn": "… against FastAPI + pydantic on uvicorn, which stores nothing",
    }
    for other in list(duel.runs)[1:]:
        yield versus.answer(
            duel,
            other,
            f"beacon, against {other}",
            target=targets.get(other, 0),
            note=", aim 0.95" if other == "null on granian" else "",
            headline=headlines.get(other, ""),
            remark=ours if other == "null on granian" else "",
        )
