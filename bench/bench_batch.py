"""A batch of 100 events in one request: what does an event cost, once the request's own cost is shared?

Why: pixels that were offline, servers and importers send arrays; there the decoding, checking and writing of rows is
nearly all of the work, and granian's part all but disappears.
How: wrk sends arrays of 100 page views from a file (``harness/requests.py``) over 16 connections to `relo ingest`, to
FastAPI with ``list[Beacon]`` on uvicorn, which stores nothing, and to the null application.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.harness import requests, servers, versus
from bench.harness.report import Answer

EVENTS, BATCHES = 100, 300
CONNECTIONS = 16


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        ours = requests.write(where.path / "batches", (requests.batch(EVENTS) for _ in range(BATCHES)))
        theirs = requests.write(where.path / "lists", (requests.batch(EVENTS, "/batch") for _ in range(BATCHES)))
        contenders: dict[str, versus.Contender] = {
            "relo": (servers.Product(where).ingest, "replay", (str(ours),)),
            "null on granian": (where.peer("null", "null_asgi", "granian"), "replay", (str(ours),)),
            "fastapi on uvicorn": (where.peer("fastapi", "fastapi_pydantic", "uvicorn"), "replay", (str(theirs),)),
        }
        duel = versus.fight(contenders, CONNECTIONS, 10 if full else 1)
    events = EVENTS * duel.spread("relo", "per_cpu_s").median
    for other in ("null on granian", "fastapi on uvicorn"):
        found = versus.answer(duel, other, f"batch of {EVENTS}, against {other}")
        if other == "fastapi on uvicorn":
            found.headline = f"A batch of {EVENTS} events against FastAPI + pydantic"
            found.remark = f"{versus.details(duel, 'relo')}, {events:,.0f} events/CPU-s; {found.remark}"
        yield msgspec.structs.replace(found, measured=f"{found.measured} (requests)")
