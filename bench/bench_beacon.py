"""A beacon through the real server: how much of what granian can do is left, and how far is FastAPI behind?

Why: beacons are nearly all of the traffic, so what one costs decides how many machines an operator pays for.
How: wrk sends one realistic page view per request (``loads/beacon.lua``), every one another event, over 64 and 256
kept-alive connections, to `relo ingest` with ClickHouse behind it and everything on (validation, registry, quota,
segment, flush), to the null application on the same granian, and to FastAPI + pydantic, which stores nothing.
At the end the rows in ClickHouse are counted: a beacon that was answered and is not there would make it all void.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import load, machine, servers
from bench.harness.duel import Duel
from bench.harness.load import Run
from bench.harness.report import ERRORS, MET, NOT_MET, Answer, at_least

CONNECTIONS = (64, 256)
OF_NULL, OF_FASTAPI = 0.90, 5.0


def answers(full: bool) -> Iterator[Answer]:
    seconds = 10 if full else 2
    with servers.directory() as where:
        product = servers.Product(where)
        contenders = {
            "relo": product.ingest,
            "null": where.peer("null", "null_asgi"),
            "fastapi on uvicorn": where.peer("fastapi-uvicorn", "fastapi_pydantic", "uvicorn"),
            "fastapi on granian": where.peer("fastapi-granian", "fastapi_pydantic", "granian"),
        }
        answered = 0.0
        for connections in CONNECTIONS:
            engine_before = machine.cpu_s(product.clickhouse.pid)
            duel = Duel(
                {
                    name: lambda s=server, c=connections: load.run(s, "beacon", c, seconds)  # type: ignore[misc]
                    for name, server in contenders.items()
                }
            )
            duel.fight([("relo", other, "per_cpu_s") for other in contenders if other != "relo"])
            engine = machine.cpu_s(product.clickhouse.pid) - engine_before
            yield from _answers(duel, connections, engine)
            answered += sum(duel.figures("relo", "requests"))
        stored = product.events_in_clickhouse()
        yield Answer(
            question="beacons answered 2xx are in ClickHouse",
            measured=f"{answered:,.0f} answered in the runs above, {stored:,} rows",
            target="no fewer rows",
            verdict=MET if stored >= answered else NOT_MET,
            remark="more rows than answers: those of the warm-up, and those that were under way when wrk stopped",
        )


def _answers(duel: Duel[Run], connections: int, engine_cpu_s: float) -> Iterator[Answer]:
    engine = f"ClickHouse {1e6 * engine_cpu_s / sum(duel.figures('relo', 'requests')):.0f} µs CPU per beacon"
    for other, target, aim in (
        ("null", OF_NULL, ", aim 0.95"),
        ("fastapi on uvicorn", OF_FASTAPI, ""),
        ("fastapi on granian", OF_FASTAPI, ""),
    ):
        by_cpu, by_clock = duel.ratio("relo", other, "per_cpu_s"), duel.ratio("relo", other, "per_s")
        yield Answer(
            question=f"beacon, {connections} connections, against {other}",
            measured=f"{_rate(duel, 'relo')} against {_rate(duel, other)}",
            target=f"≥ {target:g} ×{aim}",
            ratio=f"{by_cpu} per CPU-s; {by_clock} per s",
            verdict=at_least(by_cpu, target) if _clean(duel, "relo", other) else ERRORS,
            remark=_rest(duel, other) if other != "null" else f"{_rest(duel, 'relo')}; {_rest(duel, other)}; {engine}",
            figures={"runs": duel.runs, "per_cpu_s": by_cpu, "per_s": by_clock},
        )


def _rate(duel: Duel[Run], name: str) -> str:
    cpu, clock = duel.spread(name, "per_cpu_s"), duel.spread(name, "per_s")
    return f"{cpu.median:,.0f}/CPU-s, {clock.median:,.0f}/s"


def _rest(duel: Duel[Run], name: str) -> str:
    cpu, clock = duel.spread(name, "per_cpu_s"), duel.spread(name, "per_s")
    p50, p99 = (duel.spread(name, p).median for p in ("p50_ms", "p99_ms"))
    busy, load_busy = (duel.spread(name, p).median for p in ("busy", "load_busy"))
    errors = sum(duel.figures(name, "errors"))
    return (
        f"{name}: {len(duel.runs[name])} runs, "
        f"{cpu.low:,.0f}–{cpu.high:,.0f}/CPU-s, {clock.low:,.0f}–{clock.high:,.0f}/s, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {errors:.0f} errors, "
        f"{duel.spread(name, 'rss_mb').high:.0f} MB, server {busy:.0%} busy, wrk {load_busy:.0%}"
    )


def _clean(duel: Duel[Run], *names: str) -> bool:
    return not any(sum(duel.figures(name, "errors")) for name in names)
