"""A world in which worker and oracle disagree, made as small as it can be and still disagree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from relo_ingest.errors import ConfigError
from worker.oracle.facts import Event, Version, moment
from worker.stage import Arrival, Fact, Played, Stage, differences, facts, registry_rows

Play = Callable[[Sequence[Played]], None]
"""Bring the facts of the worlds in, as they arrive, and let the worker finish."""


def smallest(stage: Stage, play: Play, wrong: Played) -> Played:
    """Facts are left out while the disagreement stays. Each attempt is a world of its own; those of a pass play together."""

    def still_wrong(attempts: Sequence[set[int]]) -> list[set[int]]:
        worlds = [(left_out, p) for left_out in attempts if _is_possible(p := wrong.without(left_out))]
        if not worlds:
            return []
        play([p for _, p in worlds])
        found = stage.answers([p for _, p in worlds])
        return [left_out for left_out, p in worlds if differences(p, found[p.world.client_id])]

    left_out = {n for n, arrival in enumerate(wrong.arrivals) if not arrival}
    while True:
        each = still_wrong([{*left_out, n} for n in range(len(wrong.arrivals)) if n not in left_out])
        spare = sorted({n for attempt in each for n in attempt} - left_out)
        if not spare:
            play([least := wrong.without(left_out)])
            return least
        together = still_wrong([{*left_out, *spare[:most]} for most in range(1, len(spare) + 1)])
        left_out = max(together, key=len, default=each[0])


def _is_possible(played: Played) -> bool:
    """Whether the registry leads nowhere that is not there."""
    try:
        list(registry_rows(played.world))
    except ConfigError:
        return False
    return True


def story(stage: Stage, played: Played) -> str:
    """For people: the facts in the order in which they arrive, and what comes of them."""
    arrivals = [arrival for arrival in played.arrivals if arrival]
    told = sorted(zip(arrivals, facts(played.world), strict=True), key=lambda pair: pair[0])
    found = stage.answers([played])[played.world.client_id]
    return "\n".join([f"world {played.seed}", *(_line(*pair) for pair in told), *differences(played, found)])


def _line(arrival: Arrival, fact: Fact) -> str:
    what = f"since {moment(fact.since)}: {_told(fact.entry)}" if isinstance(fact, Version) else _told(fact)
    return f"  batch {' and '.join(map(str, arrival))}: {what}"


def _told(something: Any) -> str:
    """Only what is not as always."""
    if isinstance(something, msgspec.Struct):
        usual = {f.name: f.default for f in msgspec.structs.fields(something)}
    else:
        usual = {f.name: f.default for f in dataclasses.fields(something)}
    values = {name: getattr(something, name) for name in usual}
    values = {name: value for name, value in values.items() if value not in (usual[name], {})}
    if isinstance(something, Event):
        values["event_time"] = moment(something.event_time)
    return f"{type(something).__name__} {', '.join(f'{name}={value}' for name, value in values.items())}"
