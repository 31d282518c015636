"""The machine: its name, its cores and who runs on which, CPU time and memory of processes."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

P = ParamSpec("P")
R = TypeVar("R")

CORES = sorted(os.sched_getaffinity(0))
SERVER = CORES[0]
LOAD = CORES[1 % len(CORES)]
ENGINE = CORES[2] if len(CORES) > 2 else LOAD

PACKAGES = (
    "granian",
    "uvloop",
    "msgspec",
    "chdb",
    "clickhouse-connect",
    "redis",
    "fastapi",
    "pydantic",
    "uvicorn",
    "stripe",
)

PROGRAMS = (("wrk", "-v"), ("nginx", "-v"), ("node", "-v"), ("redis-server", "-v"), ("cc", "--version"))


def describe() -> dict[str, str]:
    """CPU, kernel, versions, date: what makes two results comparable, or not."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": f"{_cpu_model()}, {len(CORES)} cores usable",
        "cores": f"server on core {SERVER}, load on {LOAD}, ClickHouse on {ENGINE}",
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "relo_ingest": _revision(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "programs": ", ".join(_first_version(*command) for command in PROGRAMS),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _first_version(program: str, option: str) -> str:
    """What a program says of itself, cut behind the first number with a dot."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if not found:
        return f"{program} missing"
    said = subprocess.run([found, option], capture_output=True, text=True)
    version_text = re.search(r"\d+\.[\w.]+", said.stdout + said.stderr)
    return f"{program} {version_text[0] if version_text else 'of unknown version'}"


def _revision() -> str:
    import relo_ingest

    root = Path(relo_ingest.__file__).parents[1]
    try:
        git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "no git"
    return f"{relo_ingest.__version__} ({commit})"


def on(cores: set[int]) -> list[str]:
    """The start of a command line that keeps a program, and what it starts, on some cores."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))]


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it that live."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pid: int) -> float:
    """CPU seconds that a process and those below it have used: utime + stime of /proc/PID/stat, to 10 ms."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def largest_rss(pid: int) -> tuple[int, int]:
    """Of the largest process of the tree: resident bytes, and how many of them are anonymous (not mapped files)."""
    largest = (0, 0)
    for process in tree(pid):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        sizes = {k: int(v.split()[0]) * 1024 for k, _, v in (s.partition(":") for s in status.splitlines()) if k in RSS}
        largest = max(largest, (sizes.get("VmRSS", 0), sizes.get("RssAnon", 0)))
    return largest


RSS = ("VmRSS", "RssAnon")


def in_fresh_process(core: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The function's result from a new interpreter that runs on that core alone."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, {core})
    ) as pool:
        return pool.submit(function, *args, **kwargs).result()
