"""Payments: webhooks a second with every one on disk before its 200, and how few syncs that takes.

Why: a sync costs the disk's time, not ours; group commit lets all who wait share one, and that is the whole trick.
How: 20,000 different events of 3 KB are signed beforehand and sent by wrk over 1 and over 64 connections through the
real server; `perf stat` counts the fdatasync calls of the ingest's processes (where perf may not, that is said).
The disk's own fdatasync, of 4 KB appended, is timed beside it: without sharing, it would be the limit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from bench.harness import events, load, machine, servers
from bench.harness.duel import ROUNDS, Duel
from bench.harness.report import ERRORS, NO_TARGET, Answer, at_least
from relo_ingest._fast import signature, ulid

EVENTS = 20_000
WEBHOOKS_PER_S = 5_000
COUNTED = "syscalls:sys_enter_fdatasync"
RECORD = b"%s\n%d\n%s"


class Measured(msgspec.Struct):
    per_s: float
    per_cpu_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    requests: int
    syncs: float
    """NaN where they cannot be counted."""


def answers(full: bool) -> Iterator[Answer]:
    seconds = 10 if full else 3
    with servers.directory() as where:
        product = servers.Product(where)
        disk_us = _disk_sync_us(where.path)
        webhooks = where.path / "webhooks"
        _write_signed(webhooks)
        for connections in (1, 64):
            duel = Duel({"relo": lambda c=connections: _measure(product, webhooks, c, seconds)})  # type: ignore[misc]
            duel.fight([], ROUNDS if full else 3)
            yield _answer(duel, connections, disk_us)


def _answer(duel: Duel[Measured], connections: int, disk_us: float) -> Answer:
    rate, cpu, p50, p99 = (duel.spread("relo", figure) for figure in ("per_s", "per_cpu_s", "p50_ms", "p99_ms"))
    errors = sum(duel.figures("relo", "errors"))
    syncs = median([1000 * run.syncs / run.requests for run in duel.runs["relo"]])
    return Answer(
        question=f"webhooks on disk, {connections} connections",
        measured=f"{rate.median:,.0f}/s ({rate.low:,.0f}–{rate.high:,.0f}), {cpu.median:,.0f}/CPU-s; "
        + (f"{syncs:.0f} syncs per 1,000" if syncs >= 0 else "syncs not counted: perf may not"),
        target=f"≥ {WEBHOOKS_PER_S:,}/s on one core" if connections == 64 else "",
        verdict=ERRORS if errors else at_least(rate, WEBHOOKS_PER_S) if connections == 64 else NO_TARGET,
        remark=f"p50 {p50.median:.2f} ms, p99 {p99.median:.2f} ms, {errors:.0f} errors; "
        f"a lone fdatasync of this disk takes {disk_us:.0f} µs",
        figures={"runs": duel.runs["relo"], "disk_fdatasync_us": disk_us},
    )


def _measure(product: servers.Product, webhooks: Path, connections: int, seconds: float) -> Measured:
    counter = _count_syncs(product.ingest.pid)
    run = load.run(product.ingest, "webhook", connections, seconds, str(webhooks))
    syncs = _counted(counter)
    return Measured(run.per_s, run.per_cpu_s, run.p50_ms, run.p99_ms, run.errors, run.requests, syncs)


def _write_signed(path: Path) -> None:
    """For ``loads/webhook.lua``: signature, length of the body, body; again and again."""
    now = int(time.time())
    with path.open("wb") as file:
        for _ in range(EVENTS):
            body = events.checkout_completed(ulid.new())
            file.write(b"%s\n%d\n%s\n" % (signature.sign(body, events.SECRET, now).encode(), len(body), body))


def _count_syncs(pid: int) -> subprocess.Popen[str] | None:
    if not shutil.which("perf"):
        return None
    pids = ",".join(str(p.pid) for p in machine.tree(pid))
    return subprocess.Popen(["perf", "stat", "-x,", "-e", COUNTED, "-p", pids], stderr=subprocess.PIPE, text=True)


def _counted(counter: subprocess.Popen[str] | None) -> float:
    if counter is None:
        return float("nan")
    counter.send_signal(2)
    _, said = counter.communicate(timeout=10)
    found = re.search(rf"^(\d+),.*{COUNTED}", said, re.MULTILINE)
    return float(found[1]) if found else float("nan")


def _disk_sync_us(directory: Path) -> float:
    times = []
    fd = os.open(directory / "sync", os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(fd, 0, 4 << 20)
        os.fsync(fd)
        for i in range(300):
            os.pwrite(fd, os.urandom(4096), i * 4096)
            started = time.perf_counter()
            os.fdatasync(fd)
            times.append((time.perf_counter() - started) * 1e6)
    finally:
        os.close(fd)
    return median(times)
