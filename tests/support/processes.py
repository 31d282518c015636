"""Real processes for tests: the product, one of its servers, Redis. Each in a directory of its own, on free ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx

SECRET = b"whsec_demo_for_local_use_only"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PATIENCE_S = 150.0
"""How long a test waits for what must come. Tests assert what happens, never how fast: that is for ``bench/``, and a
machine that is busy with other things is not a fault."""


def eventually(check: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """The first truthy result of ``check`` within the time; the test fails otherwise."""
    until = time.monotonic() + timeout_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def environment(**values: object) -> dict[str, str]:
    """This process's environment without its settings, plus the given ones."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RELO_") and k != "STRIPE_WEBHOOK_SECRET"}
    return clean | {k: str(v) for k, v in values.items()}


def relo(*arguments: str, env: dict[str, str], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "relo_ingest", *arguments], env=env, capture_output=True, text=True, timeout=timeout_s
    )


def processes_with(text: str) -> list[int]:
    """Living processes whose environment holds ``text``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and text.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


class Server:
    """A process that answers HTTP on ``base_url``."""

    def __init__(self, arguments: list[str], env: dict[str, str], port: int, log: Path, ready: str) -> None:
        self.base_url = f"http://127.0.0.1:{port}"
        self.port = port
        self.env = env
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen([sys.executable, "-m", *arguments], env=env, stdout=file, stderr=file)
        self.http = httpx.Client(base_url=self.base_url, timeout=150, follow_redirects=False)
        eventually(lambda: self._is_up(ready), f"{arguments} answers {ready}; log: {log}")

    def _is_up(self, ready: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.get(ready).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        self.http.close()
        self.process.send_signal(signum)
        return self.process.wait(timeout_s)


class Product(Server):
    """``relo up``."""

    def __init__(self, directory: Path, **values: object) -> None:
        self.data_dir = directory / "data"
        self.clickhouse_port = free_port()
        port = free_port()
        env = environment(
            RELO_DATA_DIR=self.data_dir,
            RELO_INGEST_PORT=port,
            RELO_CLICKHOUSE_EMBEDDED_PORT=self.clickhouse_port,
            **values,
        )
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(["relo_ingest", "up"], env, port, directory / "up.log", "/health/ready")
        eventually(lambda: "ready:" in self.log.read_text(), "relo up says it is ready")
        self.clickhouse = clickhouse_connect.get_client(
            host="127.0.0.1", port=self.clickhouse_port, autogenerate_session_id=False
        )

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(r) for r in self.clickhouse.query(sql, parameters=parameters).result_rows]

    def eventually_rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = eventually(lambda: self.rows(sql, **parameters), sql)
        return found

    def relo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return relo(*arguments, env=self.env)


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """A real redis-server without persistence; its URL."""
    program = shutil.which("redis-server")
    assert program, "redis-server is missing: make test installs it"
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        eventually(answers, "redis-server answers")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)
