"""An event id: is ours as cheap as the fastest library's?

Why: every event without an id of its own gets one. Ours promises more than `ulid-transform`'s: ascending within a
process, and 80 bits of the kernel's randomness where that library uses a pseudo-random generator.
How: blocks of 20,000 ids in turn, in a fresh process on the server's core. ``uuid.uuid4`` is beside them as a yardstick
that everybody knows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import ulid_transform

from bench.harness import machine, micro
from bench.harness.report import Answer
from relo_ingest._fast import ulid

CALLS = 20_000
LEVEL = 0.95
"""Level with the library, as far as a run can tell two equal things apart."""


def measure(rounds: int) -> micro.Nanoseconds:
    return micro.measure(
        {
            "ulid.new": (ulid.new, CALLS),
            "ulid_transform.ulid_now": (ulid_transform.ulid_now, CALLS),
            "uuid.uuid4": (uuid.uuid4, CALLS // 10),
        },
        rounds,
    )


def answers(full: bool) -> Iterator[Answer]:
    ns = machine.in_fresh_process(machine.SERVER, measure, 200 if full else 30)
    yield micro.faster(ns, "ulid.new", "ulid_transform.ulid_now", "id, against ulid-transform", target=LEVEL)
    yield micro.faster(ns, "ulid.new", "uuid.uuid4", "id, against uuid4")


def test_ulid(benchmark: Any) -> None:
    assert len(benchmark(ulid.new)) == 26


def test_ulid_reference(benchmark: Any) -> None:
    assert len(benchmark(ulid_transform.ulid_now)) == 26
