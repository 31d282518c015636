"""The arithmetic of a comparison: turns, pairs, spread, and when a ratio is refused."""

from __future__ import annotations

from itertools import cycle

import msgspec
import pytest

from bench.harness import report
from bench.harness.duel import Duel, Spread


class Run(msgspec.Struct):
    figure: float


def contenders(log: list[str], **figures: list[float]) -> dict[str, object]:
    def contender(name: str, values: list[float]) -> object:
        endless = cycle(values)

        def measure() -> Run:
            log.append(name)
            return Run(next(endless))

        return measure

    return {name: contender(name, values) for name, values in figures.items()}


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    log: list[str] = []
    duel = Duel(contenders(log, a=[1, 2, 3], b=[10, 20, 30]))
    duel.fight([], rounds=2)
    assert log == ["a", "b"] * 3
    assert duel.figures("a", "figure") == [2, 3]


def test_a_ratio_is_of_pairs_and_not_of_medians() -> None:
    duel = Duel(contenders([], a=[9, 10, 100, 1000], b=[9, 20, 200, 2000]))
    duel.fight([], rounds=3)
    ratio = duel.ratio("a", "b", "figure")
    assert ratio.values == [0.5, 0.5, 0.5]
    assert str(ratio) == "0.50"


def test_rounds_go_on_until_the_ratio_is_steady() -> None:
    duel = Duel(contenders([], a=[1, 1, 2, 1, 1, 1, 1, 1, 1], b=[1]))
    duel.fight([("a", "b", "figure")], rounds=2, most=8)
    assert len(duel.runs["a"]) == 5
    assert not duel.ratio("a", "b", "figure").noisy


def test_a_ratio_that_does_not_settle_is_refused() -> None:
    duel = Duel(contenders([], a=[1, 2], b=[1]))
    duel.fight([("a", "b", "figure")], rounds=2, most=6)
    ratio = duel.ratio("a", "b", "figure")
    assert len(ratio.values) == 6
    assert str(ratio) == "too noisy"
    assert ratio.times("as fast") == "too noisy"
    assert report.at_least(ratio, 0) == report.TOO_NOISY


@pytest.mark.parametrize(("quarter", "noisy"), [(1.07, False), (1.08, True)], ids=["within", "beyond"])
def test_noisy_means_quartiles_further_apart_than_fifteen_percent(quarter: float, noisy: bool) -> None:
    spread = Spread.of([2 - quarter, 2 - quarter, 1, quarter, quarter])
    assert spread.noisy is noisy


def test_nothing_divided_by_nothing_is_no_ratio() -> None:
    assert Spread.of_ratio([1, 1], [0, 0]).values == [0, 0]
    assert Spread.of_ratio([0, 0], [0, 0]).noisy is False


@pytest.mark.parametrize(
    ("limit", "target", "verdict"),
    [
        (report.at_least, 1.0, report.MET),
        (report.at_least, 1.1, report.NOT_MET),
        (report.at_most, 1.0, report.MET),
        (report.at_most, 0.9, report.NOT_MET),
    ],
    ids=["at least, reached", "at least, missed", "at most, kept", "at most, passed"],
)
def test_a_verdict_is_about_the_median(limit, target: float, verdict: str) -> None:
    assert limit(Spread.of([0.98, 1.0, 1.02]), target) == verdict
