"""Single calls, timed in blocks: CPU time of the thread less that of an empty loop, in turn with their references.

A reference in the same run is what makes two machines comparable: nanoseconds are the machine's, ratios are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from bench.harness.duel import Duel, Spread
from bench.harness.report import NO_TARGET, Answer, at_least, at_most

Unit = tuple[Callable[[], object], int]
"""What is called, and how often in one block."""
Nanoseconds = dict[str, list[float]]
"""Per unit, one figure per block."""


class Block(msgspec.Struct):
    ns: float


def measure(units: Mapping[str, Unit], rounds: int) -> Nanoseconds:
    """Nanoseconds a call, in this process: see ``machine.in_fresh_process``."""
    duel = Duel({name: partial(_block, *unit) for name, unit in units.items()})
    duel.fight([], rounds)
    return {name: duel.figures(name, "ns") for name in units}


def _block(call: Callable[[], object], calls: int) -> Block:
    started = time.thread_time_ns()
    for _ in range(calls):
        call()
    between = time.thread_time_ns()
    for _ in range(calls):
        pass
    return Block((between - started - (time.thread_time_ns() - between)) / calls)


def faster(ns: Nanoseconds, ours: str, theirs: str, question: str, *, target: float = 0, headline: str = "") -> Answer:
    """How many times as fast as ``theirs``; at least ``target`` times, when there is one."""
    ratio = Spread.of_ratio(ns[theirs], ns[ours])
    return Answer(
        question,
        f"{us(ns[ours])} against {us(ns[theirs])}",
        f"≥ {target:g} ×" if target else "",
        ratio.times("as fast"),
        at_least(ratio, target) if target else NO_TARGET,
        headline=headline,
        figures={ours: ns[ours], theirs: ns[theirs]},
    )


def slower(ns: Nanoseconds, ours: str, theirs: str, question: str, *, target: float) -> Answer:
    """How many times the time of ``theirs``, which does less; at most ``target`` times."""
    ratio = Spread.of_ratio(ns[ours], ns[theirs])
    return Answer(
        question,
        f"{us(ns[ours])} against {us(ns[theirs])}",
        f"≤ {target:g} ×",
        ratio.times("its time"),
        at_most(ratio, target),
        figures={ours: ns[ours], theirs: ns[theirs]},
    )


def within(ns: Nanoseconds, unit: str, question: str, target_us: float, note: str = "") -> Answer:
    """Microseconds a call; at most ``target_us``."""
    verdict = at_most(Spread.of(ns[unit]), 1000 * target_us)
    return Answer(question, us(ns[unit]), f"≤ {target_us:g} µs{note}", "", verdict, figures={unit: ns[unit]})


def us(ns: list[float]) -> str:
    spread = Spread.of(ns)
    return f"{spread.median / 1000:.3g} µs ({spread.low / 1000:.3g}–{spread.high / 1000:.3g})"
