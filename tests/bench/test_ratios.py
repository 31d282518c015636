"""The short form of the benchmarks, with every test run: ratios of CPU time in one process, taken in turn.

The gates are far from what is measured (beside each), so that a busy machine does not fail them and a real loss does.
What was found is written to ``build/bench/RESULTS.md`` and ``results.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import bench_handler, bench_signature, bench_spool
from bench.harness import machine, report
from bench.harness.duel import Spread
from bench.harness.report import MET, NOT_MET, Answer, Results

ROUNDS = 7
REPORT = Path(__file__).parents[2] / "build" / "bench"


@pytest.fixture(scope="module")
def answers() -> Iterator[list[Answer]]:
    """Each test adds its own."""
    found: list[Answer] = []
    yield found
    report.write(Results(machine.describe(), found), REPORT)


@pytest.fixture(scope="module")
def webhook() -> dict[str, list[float]]:
    return machine.in_fresh_process(machine.SERVER, bench_signature.measure, ROUNDS)


@pytest.fixture(scope="module")
def handler() -> bench_handler.Measured:
    return machine.in_fresh_process(machine.SERVER, bench_handler.measure, ROUNDS)


def gate(answers: list[Answer], question: str, ours: list[float], theirs: list[float], most: float) -> None:
    """Our time is at most so many times theirs, in the median of the pairs."""
    ratio = Spread.of_ratio(ours, theirs)
    held = ratio.median <= most
    answers.append(
        Answer(
            question,
            f"{ratio.median:.3g} × the time ({ratio.low:.3g}–{ratio.high:.3g})",
            f"≤ {most:.3g} ×",
            verdict=MET if held else NOT_MET,
            figures={"ours": ours, "theirs": theirs},
        )
    )
    assert held, f"{question}: {ratio.median:.3g} × the time, at most {most:g} ×; all: {ratio.values}"


def test_a_beacon_costs_little_more_than_the_null_handler(answers, handler) -> None:
    gate(answers, "a beacon against the null handler", handler.relo, handler.null, 20)  # 7


def test_an_event_in_a_batch_costs_less_than_one_by_itself(answers, handler) -> None:
    each = [us / bench_handler.ARRAY for us in handler.array]
    gate(answers, f"an event of a batch of {bench_handler.ARRAY} against a single one", each, handler.relo, 0.9)  # 0.4


def test_a_signature_costs_little_more_than_its_hmac(answers, webhook) -> None:
    gate(answers, "signature against the bare HMAC", webhook["check"], webhook["hmac.digest"], 3)  # 1.1


def test_a_signature_costs_a_fraction_of_stripes_check(answers, webhook) -> None:
    gate(answers, "signature against construct_event", webhook["check"], webhook["construct_event"], 1 / 15)  # 1/125


def test_a_webhook_becomes_an_event_in_a_fraction_of_stripes_check(answers, webhook) -> None:
    ours, theirs = webhook["webhook to event"], webhook["construct_event"]
    gate(answers, "webhook to event against construct_event", ours, theirs, 1 / 6)  # 1/40


def test_a_committed_row_costs_about_as_much_as_a_write(answers) -> None:
    ns = machine.in_fresh_process(machine.SERVER, bench_spool.measure_append, ROUNDS)
    gate(answers, "a committed row against write(2) of its bytes", ns["append"], ns["write(2)"], 3)  # 0.95
