"""Memory of an ingest process at full load, over time: does it stay flat?

Why: a process that grows is restarted at night by somebody who should sleep. Its events wait on disk, never in memory.
How: 64 connections send beacons as fast as they are taken, and the resident size of the largest ingest process is
looked at four times a second; mapped segments are part of it. In the full form, 5 minutes, a line fitted through
the second half says how fast memory grows once pools and caches are warm. Memory without ClickHouse: ``bench_outage``.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import linear_regression

from bench.harness import load, servers
from bench.harness.report import ERRORS, MET, NOT_MET, Answer
from bench.harness.watch import Watch, resident_mb

MOST_MB = 150


def answers(full: bool) -> Iterator[Answer]:
    seconds = 300 if full else 8
    with servers.directory() as where:
        ingest = servers.Product(where).ingest
        with Watch(resident_mb(ingest.pid)) as watch:
            run = load.run(ingest, "beacon", 64, seconds)
    half = len(watch.values) // 2
    growth = linear_regression(watch.seconds[half:], watch.values[half:]).slope * 60
    highest = max(watch.values)
    yield Answer(
        question=f"memory, {seconds} s of full load",
        measured=f"highest {highest:.0f} MB, first {watch.values[0]:.0f}, last {watch.values[-1]:.0f}"
        + (f", {growth:+.1f} MB a minute in the second half" if full else ""),
        target=f"< {MOST_MB} MB",
        verdict=ERRORS if run.errors else MET if highest < MOST_MB else NOT_MET,
        remark=f"{run.requests:,} beacons, {run.per_s:,.0f}/s, server {run.busy:.0%} busy, {run.errors} errors",
        headline=f"Memory of an ingest process through {seconds} s of full load",
        figures={"seconds": watch.seconds, "resident_mb": watch.values},
    )
