"""Two ingest processes against one: does a second core bring a second core's worth?

Why: processes share a port, a data directory, a disk and one ClickHouse; whatever they fought over would show here.
How: `relo ingest` with one worker and with two, both free to use the first two cores, in turn under the same load; with
four cores or more, load and ClickHouse have cores of their own, and with eight, four workers run on four. With fewer
than four, load, ClickHouse and servers fight for the same cores, and requests per second cannot double: then all that
can be said is whether a request costs more CPU when two processes take it, which two full cores cannot show either
(the kernel's share of a request rises when everybody waits). So there the ratio is given without a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.harness import load, machine, servers, versus
from bench.harness.duel import Duel
from bench.harness.load import Run
from bench.harness.report import ERRORS, NOT_MEASURED, Answer, at_least

TARGETS = {2: 1.7, 4: 3.4}
CONNECTIONS = 128


def answers(full: bool) -> Iterator[Answer]:
    seconds = 10 if full else 1
    numbers = [n for n in (2, 4) if n == 2 or len(machine.CORES) >= 2 * n]
    with servers.directory() as where:
        for workers in numbers:
            yield _answer(where, workers, seconds)


def _answer(where: servers.Directory, workers: int, seconds: int) -> Answer:
    cores = set(machine.CORES[:workers])
    senders = set(machine.CORES[workers:]) or cores
    enough = len(machine.CORES) >= 2 * workers
    products = {
        name: servers.Product(where, f"{name}-of-{workers}", cores, RELO_INGEST_WORKERS=number)
        for name, number in (("one", 1), ("more", workers))
    }
    duel: Duel[Run] = Duel(
        {
            name: partial(load.run, product.ingest, "beacon", CONNECTIONS, seconds, cores=senders)
            for name, product in products.items()
        }
    )
    duel.fight([("more", "one", "per_s" if enough else "per_cpu_s")])
    by_clock, by_cpu = duel.ratio("more", "one", "per_s"), duel.ratio("more", "one", "per_cpu_s")
    verdict = at_least(by_clock, TARGETS[workers]) if enough else f"{NOT_MEASURED}: needs {2 * workers} cores"
    return Answer(
        question=f"{workers} workers against one",
        measured=f"{versus.rate(duel, 'more')} against {versus.rate(duel, 'one')}",
        target=f"≥ {TARGETS[workers]:g} × per s",
        ratio=f"{by_cpu} per CPU-s; {by_clock} per s",
        verdict=verdict if versus.clean(duel, "one", "more") else ERRORS,
        remark=f"{versus.details(duel, 'one')}; {versus.details(duel, 'more')}",
        figures={"runs": duel.runs, "per_s": by_clock, "per_cpu_s": by_cpu},
    )
