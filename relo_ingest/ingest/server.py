"""The ingest on granian: processes that share a port, each running one App."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from relo_ingest import lifeline
from relo_ingest.logs import set_up_logging
from relo_ingest.preflight import check_address, check_data_directory
from relo_ingest.settings import Settings, load

HEADER_TIMEOUT_S = 10
"""For the head of a request, and for the next one on a connection that is kept alive."""
KILL_AFTER_S = 15
"""A worker process that has not drained by then is killed; its segments are adopted by the next."""


def create_app() -> object:
    """What granian's processes run; settings come from the environment, which they inherit."""
    lifeline.die_with_parent()
    give_way_seldom()
    settings = load()
    set_up_logging(settings.log.level)

    from relo_ingest.ingest.app import App  # reads the metrics directory from the environment on import

    return App(settings)


def give_way_seldom() -> None:
    """Let this process's threads finish what they have before another of them takes their core.

    granian's network thread and Python's wake each other for every request, and on one core each waking is a switch:
    a third of all CPU time (``make profile``). Under SCHED_BATCH (sched(7)) whoever is woken waits for its turn, so
    that requests gather meanwhile, and cost less each. Threads inherit it; where it may not be set, it stays as it was.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ReloError when it cannot start."""
    check_address(settings.ingest.host, settings.ingest.port, "RELO_INGEST_PORT")
    check_data_directory(settings)
    prepare_metrics_directory(metrics_root(settings))
    lifeline.mark_parent(os.environ)

    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings

    Granian(
        "relo_ingest.ingest.server:create_app",
        factory=True,
        address=settings.ingest.host,
        port=settings.ingest.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=settings.ingest.workers,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_S * 1000),
        websockets=False,
        backlog=2048,
        # granian queues what is beyond this; our own cap comes first, and refuses.
        backpressure=2 * settings.ingest.concurrent_requests,
        respawn_failed_workers=True,
        respawn_interval=0.5,
        workers_kill_timeout=KILL_AFTER_S,
        log_enabled=False,
    ).serve()


def metrics_root(settings: Settings) -> Path:
    """In memory where there is such a place: metrics are mapped files with holes, and a full disk would kill whoever
    writes to one."""
    shared = Path("/dev/shm")  # noqa: S108 one directory of our own in it, by user
    return shared / f"relo-metrics-{os.getuid()}" if os.access(shared, os.W_OK) else settings.data_path / "metrics"


def prepare_metrics_directory(root: Path) -> None:
    """Give the processes started from here a shared directory for their metrics, and remove those of the dead."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in root.iterdir():
        if old.name.isdecimal() and not Path("/proc", old.name).exists():
            shutil.rmtree(old, ignore_errors=True)
    own = root / str(os.getpid())
    own.mkdir(exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(own)
