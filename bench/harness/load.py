"""The load: wrk, on its own core, for a bounded time; and what the server spent meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import msgspec

from bench.harness import machine
from bench.harness.servers import Server

LOADS = Path(__file__).parents[1] / "loads"
MARGIN_S = 20


class Summary(msgspec.Struct):
    """What ``loads/summary.lua`` prints at the end of a run; times in microseconds."""

    requests: int
    duration_us: int
    p50_us: float
    p99_us: float
    refused: int
    """Answers with a status of 400 or more."""
    broken: int
    """Connections that could not be opened, read, written, or took longer than two seconds."""


class Run(msgspec.Struct):
    """One contender under load once. The names of the fields are the names of figures in ``duel``."""

    per_s: float
    per_cpu_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    rss_mb: float
    busy: float
    """CPU seconds of the server per second: near 1 on one core when it was the server that set the pace."""
    load_busy: float
    """The same of wrk: near 1 when it was wrk."""
    requests: int


def wrk() -> str:
    found = shutil.which("wrk")
    if not found:
        raise RuntimeError("wrk is missing: apt-get install wrk")
    return found


def run(
    server: Server, script: str, connections: int, seconds: float, *arguments: str, cores: set[int] | None = None
) -> Run:
    """Send for ``seconds`` (whole ones are best: wrk takes nothing else)."""
    command = [
        *machine.on(cores or {machine.LOAD}),
        wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "-s",
        str(LOADS / f"{script}.lua"),
    ]
    command += [f"http://127.0.0.1:{server.port}/", "--", *arguments]
    before, started = machine.cpu_s(server.pid), time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, "LUA_PATH": f"{LOADS}/?.lua;;"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    elapsed, spent = time.perf_counter() - started, machine.cpu_s(server.pid) - before
    line = output.strip().splitlines()[-1] if output.strip() else b""
    if process.returncode or not line.startswith(b"{"):
        raise RuntimeError(f"wrk against {server.name} failed: {output[-500:]!r}")
    found = msgspec.json.decode(line, type=Summary)
    good = found.requests - found.refused
    return Run(
        per_s=good / (found.duration_us / 1e6),
        per_cpu_s=good / spent if spent else 0.0,
        p50_ms=found.p50_us / 1000,
        p99_ms=found.p99_us / 1000,
        errors=found.refused + found.broken,
        rss_mb=machine.largest_rss(server.pid)[0] / 1e6,
        busy=spent / elapsed,
        load_busy=(usage.ru_utime + usage.ru_stime) / elapsed,
        requests=good,
    )
