"""Contenders in turn, A B A B …, and their ratios pair by pair.

What disturbs a machine lasts longer than a round, so it disturbs both of a pair, and the median of the pairs'
ratios hardly moves. When the quartiles of those ratios still lie further apart than NOISY of the median, more
rounds are run, up to a limit; a ratio that has not settled by then is not given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

ROUNDS, MOST_ROUNDS = 5, 10
NOISY = 0.15


class Spread(msgspec.Struct):
    """One contender's figure over its runs, or the ratio of two contenders over their pairs."""

    median: float
    low: float
    high: float
    quartiles: tuple[float, float]
    values: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), min(values), max(values), (low, high), [*values])

    @classmethod
    def of_ratio(cls, over: Sequence[float], under: Sequence[float]) -> Spread:
        """Figures measured in the same round are a pair."""
        return cls.of([a / b if b else 0.0 for a, b in zip(over, under, strict=True)])

    @property
    def noisy(self) -> bool:
        low, high = self.quartiles
        return not high - low <= NOISY * abs(self.median)

    def __str__(self) -> str:
        return "too noisy" if self.noisy else f"{self.median:.2f}"

    def times(self, what: str) -> str:
        """As a ratio in words, unless it is too noisy to be one."""
        return str(self) if self.noisy else f"{self} × {what}"


class Duel(Generic[T]):
    """The runs of all contenders, round by round."""

    def __init__(self, contenders: Mapping[str, Callable[[], T]]) -> None:
        self._contenders = contenders
        self.runs: dict[str, list[T]] = {name: [] for name in contenders}

    def fight(self, watched: Sequence[tuple[str, str, str]], rounds: int = ROUNDS, most: int = MOST_ROUNDS) -> None:
        """At least ``rounds``, and on until each of ``watched`` (contender, reference, figure) is steady, or ``most``.

        One round before them is not counted: caches, pools and the branch predictor warm up in it.
        """
        for measure in self._contenders.values():
            measure()
        done = 0
        while done < rounds or (done < most and any(self.ratio(*w).noisy for w in watched)):
            for name, measure in self._contenders.items():
                self.runs[name].append(measure())
            done += 1

    def figures(self, name: str, figure: str) -> list[float]:
        return [float(getattr(run, figure)) for run in self.runs[name]]

    def spread(self, name: str, figure: str) -> Spread:
        return Spread.of(self.figures(name, figure))

    def ratio(self, over: str, under: str, figure: str) -> Spread:
        """``over``'s figure divided by ``under``'s."""
        return Spread.of_ratio(self.figures(over, figure), self.figures(under, figure))
