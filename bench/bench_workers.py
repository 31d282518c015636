"""Two ingest processes against one: does a second core bring a second core's worth?

Why: processes share a port, a data directory, a disk and one ClickHouse; whatever they fought over would show here.
How: `relo ingest` with one worker and with two, both free to use the first two cores, in turn under the same load.
With four cores or more, load and ClickHouse have cores of their own, and requests per second say it. With fewer, load,
ClickHouse and servers fight for the same cores, and requests per second cannot double: then what can be said is
whether a request costs more CPU when two processes take them, and the verdict is about twice that ratio: what two
free cores would give. The CPU share of everybody is in the remark.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.harness import load, machine, servers
from bench.harness.duel import Duel, Spread
from bench.harness.load import Run
from bench.harness.report import Answer, at_least

TARGET = 1.7
CONNECTIONS = 128


def answers(full: bool) -> Iterator[Answer]:
    seconds = 10 if full else 2
    both = set(machine.CORES[:2])
    with servers.directory() as where:
        one = servers.Product(where, "one", both, RELO_INGEST_WORKERS=1)
        two = servers.Product(where, "two", both, RELO_INGEST_WORKERS=2)
        senders = set(machine.CORES[2:]) or both

        def contender(product: servers.Product) -> Run:
            return load.run(product.ingest, "beacon", CONNECTIONS, seconds, cores=senders)

        duel = Duel({"one": lambda: contender(one), "two": lambda: contender(two)})
        enough = len(machine.CORES) >= 4
        figure = "per_s" if enough else "per_cpu_s"
        duel.fight([("two", "one", figure)])
    by_clock, by_cpu = duel.ratio("two", "one", "per_s"), duel.ratio("two", "one", "per_cpu_s")
    projected = Spread.of([2 * ratio for ratio in by_cpu.values])
    rate = {name: duel.spread(name, "per_s").median for name in duel.runs}
    per_cpu = {name: duel.spread(name, "per_cpu_s").median for name in duel.runs}
    shares = "; ".join(
        f"{name}: server {duel.spread(name, 'busy').median:.2f} cores, wrk {duel.spread(name, 'load_busy').median:.2f} "
        f"of {len(machine.CORES)}, {sum(duel.figures(name, 'errors')):.0f} errors"
        for name in duel.runs
    )
    yield Answer(
        question="two workers against one",
        measured=f"{rate['two']:,.0f}/s against {rate['one']:,.0f}/s; "
        f"{per_cpu['two']:,.0f} against {per_cpu['one']:,.0f}/CPU-s",
        target=f"≥ {TARGET} ×",
        ratio=f"{by_clock} per s; {by_cpu} per CPU-s" + ("" if enough else f", so {projected} on two free cores"),
        verdict=at_least(by_clock if enough else projected, TARGET) + ("" if enough else " (projected)"),
        remark=shares,
        figures={"runs": msgspec.to_builtins(duel.runs), "per_s": by_clock, "per_cpu_s": by_cpu},
    )
