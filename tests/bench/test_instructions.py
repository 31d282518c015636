"""The instruction-count gate: no compiled unit became dearer by more than 5 %, as counted by callgrind."""

from __future__ import annotations

import pytest

from bench import instructions
from bench.instructions import CannotCount, Counts, changes

KEEP = "if that is meant, keep the new counts: .venv/bin/python -m bench.instructions --write"


def test_no_compiled_unit_moved_by_more_than_five_percent() -> None:
    kept = instructions.read()
    try:
        made_with = instructions.made_with()
        if made_with != kept.made_with:
            pytest.skip(f"counts were taken with {kept.made_with}, here is {made_with}: not comparable")
        moved = changes(kept, instructions.count())
    except CannotCount as reason:
        pytest.skip(str(reason))
    assert not moved, "\n".join([*moved, KEEP])


def test_a_unit_that_moved_is_named_with_both_counts() -> None:
    kept = Counts({}, {"steady": 1000, "dearer": 1000, "cheaper": 1000})
    now = Counts({}, {"steady": 1050, "dearer": 1051, "cheaper": 900})
    assert changes(kept, now) == [
        "cheaper: 1,000 → 900 instructions a call (-10.0%)",
        "dearer: 1,000 → 1,051 instructions a call (+5.1%)",
    ]


def test_a_unit_that_is_new_or_gone_is_named() -> None:
    assert changes(Counts({}, {"gone": 7}), Counts({}, {"new": 9})) == ["gone: 7 → not counted", "new: not kept → 9"]
