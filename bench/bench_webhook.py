"""A Stripe webhook through the real server, on disk before its 200, against FastAPI with Stripe's own library.

Why: a payment's answer must not come before its row is safe, and Stripe sends a shop's whole day again when it was
away; a sync costs the disk's time, not ours, as long as all who wait share one.
How: signed events of 3.6 KB (``harness/events.py``), signed anew before each run, sent by wrk over 64 connections to
`relo ingest` and to FastAPI with `stripe.Webhook.construct_event`, which stores nothing; then over one connection,
where every webhook has a sync of its own. `perf stat` counts the fdatasync calls of the ingest's processes (where perf
may not, that is said); what the disk takes for a sync by itself is in ``bench_spool``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from bench.harness import load, machine, requests, servers, versus
from bench.harness.duel import Duel
from bench.harness.load import Run
from bench.harness.report import ERRORS, NO_TARGET, Answer, at_least

EVENTS = 5_000
WEBHOOKS_PER_S = 5_000
COUNTED = "syscalls:sys_enter_fdatasync"


class Synced(Run):
    """``syncs``: NaN where they cannot be counted."""

    syncs: float


def answers(full: bool) -> Iterator[Answer]:
    seconds = 10 if full else 1
    with servers.directory() as where:
        ingest = servers.Product(where).ingest
        fastapi = where.peer("fastapi", "fastapi_stripe")
        file = where.path / "webhooks"
        contenders = {
            "relo": partial(_run_counted, ingest, file, 64, seconds),
            "fastapi and stripe": partial(_run, fastapi, file, 64, seconds),
        }
        duel: Duel[Run] = Duel(contenders)
        duel.fight([("relo", "fastapi and stripe", "per_cpu_s")])
        lone: Duel[Synced] = Duel({"relo": partial(_run_counted, ingest, file, 1, seconds)})
        lone.fight([])
    yield versus.answer(
        duel,
        "fastapi and stripe",
        "webhook, 64 connections, against fastapi and construct_event",
        headline="A webhook on disk against FastAPI + `construct_event`, which stores nothing",
    )
    yield _answer(duel, 64)  # type: ignore[arg-type]
    yield _answer(lone, 1)


def _answer(duel: Duel[Synced], connections: int) -> Answer:
    rate = duel.spread("relo", "per_s")
    errors = sum(duel.figures("relo", "errors"))
    syncs = median([1000 * run.syncs / run.requests for run in duel.runs["relo"]])
    return Answer(
        question=f"webhooks on disk, {connections} connections",
        measured=f"{rate.median:,.0f}/s ({rate.low:,.0f}–{rate.high:,.0f}); "
        + (f"{syncs:.0f} syncs per 1,000" if syncs >= 0 else "syncs not counted: perf may not"),
        target=f"≥ {WEBHOOKS_PER_S:,}/s on one core" if connections == 64 else "",
        verdict=ERRORS if errors else at_least(rate, WEBHOOKS_PER_S) if connections == 64 else NO_TARGET,
        remark=versus.details(duel, "relo"),  # type: ignore[arg-type]
        figures={"runs": duel.runs["relo"]},
    )


def _run(server: servers.Server, file: Path, connections: int, seconds: float) -> Run:
    requests.write(file, (requests.webhook() for _ in range(EVENTS)))
    return load.run(server, "replay", connections, seconds, str(file))


def _run_counted(server: servers.Server, file: Path, connections: int, seconds: float) -> Synced:
    requests.write(file, (requests.webhook() for _ in range(EVENTS)))
    counter = _count_syncs(server.pid)
    run = load.run(server, "replay", connections, seconds, str(file))
    return Synced(**msgspec.structs.asdict(run), syncs=_counted(counter))


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
