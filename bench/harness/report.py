"""An answer, the table of answers, and the files they are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.harness.duel import Spread

RESULTS = Path(__file__).parents[1]
README = RESULTS.parent / "README.md"
COLUMNS = ("question", "measured", "target", "ratio", "verdict")
HEADLINES_BEGIN, HEADLINES_END = "<!-- headlines: written by make bench -->\n", "<!-- end of headlines -->"

MET, NOT_MET, TOO_NOISY, NO_TARGET = "met", "not met", "too noisy", "no target"
ERRORS = "errors"
"""Requests failed: whatever was measured is not what was asked."""
NOT_MEASURED = "not measured"


class Curve(msgspec.Struct):
    """One line of a plot; ``plot`` is a name in ``bench.plots.PLOTS``. ``low`` and ``high`` bound a band."""

    plot: str
    label: str
    x: list[float]
    y: list[float]
    low: list[float] = []
    high: list[float] = []


class Answer(msgspec.Struct):
    """One line of the table. ``figures`` go into results.json only; ``remark`` stands below the table."""

    question: str
    measured: str
    target: str = ""
    ratio: str = ""
    verdict: str = NO_TARGET
    remark: str = ""
    headline: str = ""
    """What README calls this line; empty: it is not shown there."""
    curves: list[Curve] = []
    figures: dict[str, Any] = {}


class Results(msgspec.Struct):
    """results.json."""

    machine: dict[str, str]
    answers: list[Answer]


def at_least(value: Spread, target: float) -> str:
    """Verdict on a figure that should be high."""
    return _verdict(value, value.median >= target)


def at_most(value: Spread, target: float) -> str:
    """Verdict on a figure that should be low."""
    return _verdict(value, value.median <= target)


def _verdict(value: Spread, holds: bool) -> str:
    if value.noisy:
        return TOO_NOISY
    return MET if holds else NOT_MET


def markdown(results: Results) -> str:
    """The table, what it was measured on, and the remarks."""
    rows = [(a.question, a.measured, a.target, a.ratio, a.verdict) for a in results.answers]
    head = [f"- {name}: {value}" for name, value in results.machine.items()]
    remarks = [f"- {a.question}: {a.remark}" for a in results.answers if a.remark]
    return "\n".join(("# Results of `make bench`", "", *head, "", *_table(COLUMNS, rows), "", *remarks, ""))


def headlines(results: Results) -> str:
    """README's few lines: what ``Answer.headline`` names, and where it was measured."""
    rows = [(a.headline, a.ratio or a.measured) for a in results.answers if a.headline]
    where = f"Measured {results.machine['date'][:10]} on {results.machine['cpu']}, {results.machine['relo_ingest']}."
    return "\n".join((*_table(("`make bench`", "measured"), rows), "", where, ""))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in (head, *rows)]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return lines


def write(results: Results, directory: Path = RESULTS) -> None:
    """RESULTS.md and results.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "RESULTS.md").write_text(markdown(results))
    (directory / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def read() -> Results:
    """What ``write`` kept."""
    return msgspec.json.decode((RESULTS / "results.json").read_bytes(), type=Results)


def write_headlines(results: Results, readme: Path = README) -> None:
    """Between the two marks in README. ValueError when they are not there."""
    before, begin, rest = readme.read_text().partition(HEADLINES_BEGIN)
    _, end, after = rest.partition(HEADLINES_END)
    if not begin or not end:
        raise ValueError(f"{readme} lacks the marks {HEADLINES_BEGIN.strip()} and {HEADLINES_END}")
    readme.write_text(f"{before}{begin}{headlines(results)}{end}{after}")
