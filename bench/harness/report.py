"""An answer, the table of answers, and the files they are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.harness.duel import Spread

RESULTS = Path(__file__).parents[1]
COLUMNS = ("question", "measured", "target", "ratio", "verdict")

MET, NOT_MET, TOO_NOISY, NO_TARGET = "met", "not met", "too noisy", "no target"
ERRORS = "errors"
"""Requests failed: whatever was measured is not what was asked."""
NOT_MEASURED = "not measured"


class Answer(msgspec.Struct):
    """One line of the table. ``figures`` go into results.json only; ``remark`` stands below the table."""

    question: str
    measured: str
    target: str = ""
    ratio: str = ""
    verdict: str = NO_TARGET
    remark: str = ""
    figures: dict[str, Any] = {}


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


def markdown(answers: list[Answer], machine: dict[str, str]) -> str:
    """The table, what it was measured on, and the remarks."""
    rows = [COLUMNS, *((a.question, a.measured, a.target, a.ratio, a.verdict) for a in answers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    head = [f"- {name}: {value}" for name, value in machine.items()]
    remarks = [f"- {a.question}: {a.remark}" for a in answers if a.remark]
    return "\n".join(("# Results of `make bench`", "", *head, "", *lines, "", *remarks, ""))


def write(answers: list[Answer], machine: dict[str, str]) -> None:
    (RESULTS / "RESULTS.md").write_text(markdown(answers, machine))
    content = msgspec.json.encode({"machine": machine, "answers": answers})
    (RESULTS / "results.json").write_bytes(msgspec.json.format(content, indent=2) + b"\n")
