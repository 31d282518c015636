"""Contenders under the same load, in turn, and the lines of the table that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench.harness import load
from bench.harness.duel import Duel
from bench.harness.load import Run
from bench.harness.report import ERRORS, NO_TARGET, Answer, at_least
from bench.harness.servers import Server

Contender = tuple[Server, str, Sequence[str]]
"""The server, the script of ``loads/`` that asks it, and the script's arguments."""


def fight(contenders: Mapping[str, Contender], connections: int, seconds: float, ours: str = "relo") -> Duel[Run]:
    """Everybody in turn until ``ours`` against each other, in requests per CPU-second, is steady."""
    duel = Duel(
        {
            name: partial(load.run, server, script, connections, seconds, *arguments)
            for name, (server, script, arguments) in contenders.items()
        }
    )
    duel.fight([(ours, other, "per_cpu_s") for other in contenders if other != ours])
    return duel


def answer(
    duel: Duel[Run],
    other: str,
    question: str,
    *,
    target: float = 0,
    note: str = "",
    headline: str = "",
    remark: str = "",
    ours: str = "relo",
) -> Answer:
    """``ours`` against ``other``: the verdict is on requests per CPU-second. ``target`` 0: none."""
    by_cpu, by_clock = duel.ratio(ours, other, "per_cpu_s"), duel.ratio(ours, other, "per_s")
    verdict = at_least(by_cpu, target) if target else NO_TARGET
    return Answer(
        question=question,
        measured=f"{rate(duel, ours)} against {rate(duel, other)}",
        target=f"≥ {target:g} ×{note}" if target else note,
        ratio=f"{by_cpu} per CPU-s; {by_clock} per s",
        verdict=verdict if clean(duel, ours, other) else ERRORS,
        headline=headline,
        remark="; ".join(filter(None, (details(duel, other), remark))),
        figures={"runs": {name: duel.runs[name] for name in (ours, other)}, "per_cpu_s": by_cpu, "per_s": by_clock},
    )


def rate(duel: Duel[Run], name: str) -> str:
    cpu, clock = duel.spread(name, "per_cpu_s"), duel.spread(name, "per_s")
    return f"{cpu.median:,.0f}/CPU-s, {clock.median:,.0f}/s"


def details(duel: Duel[Run], name: str) -> str:
    """All that the harness knows of one contender's runs, in a line."""
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


def clean(duel: Duel[Run], *names: str) -> bool:
    """Whether nobody answered an error."""
    return not any(sum(duel.figures(name, "errors")) for name in names)
