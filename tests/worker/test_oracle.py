"""The worker against the oracle: the same ledger to the last minor unit, in whatever order the facts of a world come.

RELO_ORACLE_WORLDS sets how many worlds (`make oracle` tries thousands, others each time), RELO_ORACLE_SEED which. A world
that goes wrong is made as small as it can be, and told in the failure.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from relo_ingest.registry.model import BEGINNING
from relo_ingest.worker.loop import Worker
from relo_ingest.worker.recompute import recompute
from worker.mutants import SITUATIONS, mutant
from worker.oracle.settle import settle
from worker.smallest import smallest, story
from worker.stage import Line, Played, Stage, differences, lines_only_added

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

AT_ONCE = 100
"""Worlds in one example: a round costs nearly as much for one as for all of them."""
WORLDS = int(os.environ.get("RELO_ORACLE_WORLDS", "400"))
SEED = int(os.environ.get("RELO_ORACLE_SEED", "4"))
SHOWN = 3


class Theatre:
    """A stage and the worker there, which is replaced by a new one now and then, as if it had been killed."""

    def __init__(self, client: Client) -> None:
        self.stage = Stage(client)
        self._worker = Worker(client)

    def play(self, played: Sequence[Played], rounds_after: Sequence[bool], chance: random.Random) -> None:
        """Bring the batches, with a round after some of them. Lines are only ever added."""
        written: dict[str, Line] = {}
        for batch, round_after in enumerate(rounds_after):
            self.stage.bring(played, batch)
            if chance.random() < 0.05:
                self._worker = Worker(self.stage.client)
            if round_after:
                self._worker.round()
                written = lines_only_added(written, self.stage.lines(played))

    def check(self, played: Sequence[Played], rounds_after: Sequence[bool]) -> None:
        """Fails unless every world has the oracle's answer."""
        found = self.stage.answers(played)
        wrong = [p for p in played if differences(p, found[p.world.client_id])]
        if wrong:

            def again(attempts: Sequence[Played]) -> None:
                self.play(attempts, rounds_after, random.Random(0))

            told = "\n".join(story(self.stage, smallest(self.stage, again, p)) for p in wrong[:SHOWN])
            pytest.fail(f"{len(wrong)} of {len(played)} worlds: {[p.seed for p in wrong]}\n{told}")

    def settle(self, played: Sequence[Played]) -> None:
        self.play(played, [True], random.Random(0))


@pytest.fixture(scope="module")
def theatre(engine: Client) -> Theatre:
    return Theatre(engine)


@seed(SEED)
@settings(
    max_examples=max(1, WORLDS // AT_ONCE),
    database=None,
    deadline=None,
    phases=[Phase.generate],  # a world is not made smaller by making its seed smaller: see smallest
    suppress_health_check=list(HealthCheck),
)
@given(first=st.integers(0, 2**31), batches=st.integers(2, 4))
@pytest.mark.timeout(600 + WORLDS)
def test_ledger_is_the_oracles_whatever_the_order_of_arrival(theatre: Theatre, first: int, batches: int) -> None:
    chance = random.Random(first)
    rounds_after = [*(chance.random() < 0.7 for _ in range(batches - 1)), True]
    played = [Played.shuffled(first + n, batches) for n in range(AT_ONCE)]
    theatre.play(played, rounds_after, chance)
    theatre.check(played, rounds_after)


def test_what_is_there_from_the_start_is_one_line_for_each_part(theatre: Theatre) -> None:
    played = [Played.at_once(n) for n in range(AT_ONCE)]
    theatre.settle(played)
    expected = {
        (p.world.client_id, *place, part, kind, amount, answer.hold_until[place])
        for p in played
        for answer in [settle(p.world)]
        for place, sums in answer.ledger.items()
        for part, kind, amount in zip(("earned", "reversed"), ("accrual", "reversal"), sums, strict=True)
        if amount
    }
    lines = theatre.stage.lines(played)
    found = {msgspec.structs.astuple(line)[1:] for line in lines}
    assert (found - expected, expected - found) == (set(), set())
    assert len(lines) == len(expected)


def test_whoever_looks_at_everything_again_adds_nothing(theatre: Theatre) -> None:
    played = [Played.shuffled(n, 2) for n in range(AT_ONCE)]
    theatre.play(played, [True, True], random.Random(0))
    before = {line.entry_id: line for line in theatre.stage.lines(played)}
    Worker(theatre.stage.client).round()
    assert {line.entry_id: line for line in theatre.stage.lines(played)} == before
    for client_id in {line.client_id for line in list(before.values())[:5]}:
        assert list(recompute(theatre.stage.client, client_id, BEGINNING, dry_run=True)) == []


def test_worker_that_took_a_rule_otherwise_would_be_found_out(theatre: Theatre) -> None:
    """So that a comparison that cannot fail is noticed: the tables' answers differ from those of a changed oracle."""
    played = [Played.at_once(n) for n in range(AT_ONCE)]
    theatre.settle(played)
    found = theatre.stage.answers(played)
    for situation in ("windows that overlap", "clock skew of five minutes", "a partial refund", "tiers", "a minimum"):
        otherwise = mutant(*SITUATIONS[situation])
        assert any(differences(p, found[p.world.client_id], otherwise) for p in played), situation


def test_line_that_nobody_earned_would_be_found_out(theatre: Theatre) -> None:
    played = [Played.at_once(n) for n in range(10)]
    theatre.settle(played)
    some = next(line for line in theatre.stage.lines(played) if line.part == "earned")
    forged = ("forged", some.client_id, some.conversion_key, some.partner_ref, some.currency, "earned", Decimal("0.01"))
    names = ["entry_id", "client_id", "conversion_key", "partner_ref", "currency", "part", "amount"]
    theatre.stage.client.insert("ledger_lines", [forged], column_names=names)
    found = theatre.stage.answers(played)
    assert [p.world.client_id for p in played if differences(p, found[p.world.client_id])] == [some.client_id]
