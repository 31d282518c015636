"""What the worlds by chance hold: every rule decides something in some of them.

Each line of ``SITUATIONS`` (mutants.py) changes the oracle in one place: it forgets one rule, or draws one edge
elsewhere. A world in which that changes the answer is one in which the situation occurs and matters. So these tests say
that the worlds are not boring, and that a worker with such a mistake would be found out.
"""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from relo_ingest.registry import model
from worker.mutants import SITUATIONS, mutant
from worker.oracle.facts import World
from worker.oracle.settle import Answer, settle
from worker.worlds import make_world

WORLDS = 600

Settled = list[tuple[World, Answer]]


def fields(answer: Answer) -> tuple[object, object]:
    return answer.attributions, answer.ledger


@pytest.fixture(scope="module")
def worlds() -> Settled:
    made = (make_world(seed, 7) for seed in range(WORLDS))
    return [(world, settle(world)) for world in made]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_situation_occurs_and_decides(situation: str, worlds: Settled) -> None:
    otherwise = mutant(*SITUATIONS[situation])
    for world, answer in worlds:
        try:
            if fields(otherwise(world)) != fields(answer):
                return
        except (AssertionError, IndexError):  # what the rest of the oracle relies on is no more
            return
    pytest.fail(f"in none of {WORLDS} worlds does it matter")


def test_registry_of_a_world_is_one_that_relo_apply_takes(worlds: Settled) -> None:
    for world, _ in worlds:
        for version in world.versions:
            entry = version.entry
            tables = {f"{entry.kind}s": [msgspec.to_builtins(entry, builtin_types=(dt.datetime,))]}
            assert next(model.parse(tables, "test").entries()) == entry


def test_unchanged_copy_of_the_oracle_agrees(worlds: Settled) -> None:
    same = mutant("settle", "registry = Registry", "registry = Registry")
    assert all(fields(same(world)) == fields(answer) for world, answer in worlds)
