"""``make profile``: where the time of a beacon goes, as a flame graph: build/profile.svg.

How: `relo ingest` under wrk's full load, as in ``bench_beacon``; py-spy samples whoever holds the GIL 500 times a
second, with native frames, so that compiled units and uvloop stand beside Python's functions. That is the part that is
ours. The whole is in ``build/profile.txt``: CPU time of each thread in user mode and in the kernel; where perf may
look, the functions of all threads and of the kernel; then the functions of the picture by their own time.

``python -m bench.profile [SECONDS] [CONNECTIONS]``
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading
from collections import Counter
from pathlib import Path

import psutil

from bench.harness import load, machine, servers

OUTPUT = servers.ROOT / "build"
SAMPLES_PER_S = 500
LISTED = 40


def main(seconds: int = 10, connections: int = 64) -> int:
    OUTPUT.mkdir(exist_ok=True)
    picture, report = OUTPUT / "profile.svg", OUTPUT / "profile.txt"
    with servers.directory() as where:
        ingest = servers.Product(where).ingest
        worker = max(machine.tree(ingest.pid), key=lambda process: process.num_threads() * (process.pid != ingest.pid))
        load.run(ingest, "beacon", connections, 3)
        sender = threading.Thread(target=load.run, args=(ingest, "beacon", connections, 4 * seconds + 5))
        sender.start()
        threads = _threads(worker, seconds)
        everything = _perf(worker.pid, seconds, where.path / "perf.data")
        stacks = _record(worker.pid, seconds, "raw", where.path / "stacks").read_text()
        _record(worker.pid, seconds, "flamegraph", picture)
        sender.join()
    ours = ["with the GIL, by own time:", *own_times(stacks)]
    report.write_text("\n".join((*threads, "", *everything, "", *ours, "")))
    print(report.read_text())
    print(f"the flame graph: {picture}")
    return 0


def _record(pid: int, seconds: int, form: str, path: Path) -> Path:
    program = Path(sysconfig.get_path("scripts"), "py-spy")
    command = [str(program), "record", "--native", "--gil", "--pid", str(pid), "--duration", str(seconds),
               "--format", form, "--rate", str(SAMPLES_PER_S), "--output", str(path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"py-spy may not look into the process (root, or kernel.yama.ptrace_scope=0): {done.stderr}")
    return path


def _threads(process: psutil.Process, seconds: int) -> list[str]:
    """CPU time of each thread while nobody looks."""
    before = {thread.id: thread for thread in process.threads()}
    threading.Event().wait(seconds)
    lines = [f"CPU time of the serving process's threads in {seconds} s: user, kernel"]
    for thread in process.threads():
        earlier = before.get(thread.id)
        user, system = (
            now - (getattr(earlier, what) if earlier else 0)
            for what, now in (("user_time", thread.user_time), ("system_time", thread.system_time))
        )
        if user + system >= 0.05:
            name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text().strip()
            lines.append(f"{user:7.2f} s {system:7.2f} s  {name}")
    return lines


def _perf(pid: int, seconds: int, path: Path) -> list[str]:
    """Shares of threads and of functions, the kernel's among them."""
    record = ["perf", "record", "-q", "-F", str(SAMPLES_PER_S), "-p", str(pid), "-o", str(path), "--"]
    lines = ["all threads and the kernel (perf):"]
    try:
        subprocess.run([*record, "sleep", str(seconds)], capture_output=True, check=True)
        for sort in ("comm,dso", "dso,sym"):
            command = ["perf", "report", "-i", str(path), "--stdio", "--sort", sort, "--percent-limit", "1"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            lines += [line.rstrip() for line in said.splitlines() if line.strip() and not line.startswith("#")]
    except (OSError, subprocess.CalledProcessError) as error:
        lines.append(f"not measured: {error}")
    return lines


def own_times(stacks: str) -> list[str]:
    """Of folded stacks (``outer;inner samples``): the share of samples in which each function was the innermost."""
    own: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        own[stack.rpartition(";")[2]] += int(samples)
    total = own.total()
    return [f"{100 * samples / total:5.1f} %  {function}" for function, samples in own.most_common(LISTED)]


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
