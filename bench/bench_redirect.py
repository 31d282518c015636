"""A partner's link: what is left of granian when each click is recorded before the visitor goes on?

Why: the visitor waits for this answer with an empty page in front of them, and a partner's campaign sends thousands at
once.
How: wrk opens links as Chrome does (``harness/requests.py``) over 64 connections, on `relo ingest` with everything on,
and on an application that answers a redirect of the same length without looking at anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import requests, servers, versus
from bench.harness.report import Answer

LINKS = 20_000
CONNECTIONS = 64
OF_NULL = 0.85


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        links = requests.write(where.path / "links", (requests.link() for _ in range(LINKS)))
        contenders: dict[str, versus.Contender] = {
            "relo": (servers.Product(where).ingest, "replay", (str(links),)),
            "null redirect": (where.peer("null", "null_redirect"), "replay", (str(links),)),
        }
        duel = versus.fight(contenders, CONNECTIONS, 10 if full else 1)
    yield versus.answer(
        duel,
        "null redirect",
        "redirect, against null redirect",
        target=OF_NULL,
        headline="A link against an application that only redirects",
        remark=versus.details(duel, "relo"),
    )
