"""Contenders and the product: real processes on loopback, each pinned, on its own port, in a directory of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from bench.harness import machine

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

UNLIMITED = 1_000_000_000
"""A quota that one sender cannot reach."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A process, and what it started, that listens on ``port``."""

    def __init__(self, name: str, command: Sequence[str], cores: set[int], port: int, log: Path, **env: object) -> None:
        self.name = name
        self.port = port
        self._log = log
        self._ended = False

        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*machine.on(cores), *command],
                env=clean_environment(**env),
                cwd=log.parent,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, path: str, statuses: Sequence[int] = (200,)) -> Server:
        """Itself, once ``GET path`` has one of the statuses. RuntimeError with the log's end otherwise."""
        until = time.monotonic() + START_TIMEOUT_S
        while self.get(path) not in statuses:
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.name} did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.01)
        return self

    def accepts(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def get(self, path: str) -> int:
        """The status of one GET; 0 when nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def stop(self) -> None:
        """Politely, then not; whatever it started goes too."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and all of its session, once."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def clean_environment(**more: object) -> dict[str, str]:
    """Ours without any of relo's settings, the packages on the path, plus ``more``."""
    import relo_ingest

    ours = {k: v for k, v in os.environ.items() if not k.startswith(("RELO_", "_RELO_", "STRIPE_", "PROMETHEUS_"))}
    path = os.pathsep.join((str(Path(relo_ingest.__file__).parents[1]), str(ROOT)))
    return ours | {"PYTHONPATH": path} | {k: str(v) for k, v in more.items()}


class Directory:
    """A temporary directory and the servers in it; all end together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.servers: list[Server] = []

    def start(self, name: str, arguments: Sequence[str], core: int | set[int], port: int, **env: object) -> Server:
        """A Python program on a core, or on some."""
        return self._start(name, [sys.executable, *arguments], core if isinstance(core, set) else {core}, port, **env)

    def redis(self) -> Server:
        """A real redis-server without persistence, on the core of the load."""
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = self._start("redis", command, {machine.LOAD}, port)
        until = time.monotonic() + START_TIMEOUT_S
        while not server.accepts():
            if time.monotonic() > until:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.01)
        return server

    def _start(self, name: str, command: Sequence[str], cores: set[int], port: int, **env: object) -> Server:
        server = Server(name, command, cores, port, self.path / f"{name}.log", **env)
        self.servers.append(server)
        return server

    def peer(self, name: str, module: str, *arguments: str) -> Server:
        """A contender of ``bench.peers`` on the server's core, once it answers. It may become another program."""
        port = free_port()
        server = self.start(name, ["-m", f"bench.peers.{module}", str(port), *arguments], machine.SERVER, port)
        return server.wait_until("/", (200, 204, 302, 404, 405))

    def engine(self, name: str, data_dir: Path, port: int) -> Server:
        """``relo clickhouse`` on the core of the engine, once it answers."""
        env = {"RELO_DATA_DIR": data_dir, "RELO_CLICKHOUSE_EMBEDDED_PORT": port}
        return self.start(name, ["-m", "relo_ingest", "clickhouse"], machine.ENGINE, port, **env).wait_until("/ping")


@contextlib.contextmanager
def directory() -> Iterator[Directory]:
    """On disk, not in memory: segments are written where a user's would be."""
    with tempfile.TemporaryDirectory(prefix="relo-bench-", ignore_cleanup_errors=True) as path:
        found = Directory(Path(path))
        try:
            yield found
        finally:
            for server in reversed(found.servers):
                server.stop()


class Product:
    """``relo clickhouse`` beside the load, ``relo ingest`` on the server's core: as ``relo up``, each where it belongs.

    The worker (attribution) is left out: it shares nothing with the ingest but ClickHouse.
    """

    def __init__(self, where: Directory, name: str = "relo", cores: set[int] | None = None, **env: object) -> None:
        self._where = where
        self._name = name
        self.data_dir = where.path / f"{name}-data"
        self.data_dir.mkdir()
        self._env = {
            "RELO_DATA_DIR": self.data_dir,
            "RELO_INGEST_PORT": free_port(),
            "RELO_CLICKHOUSE_EMBEDDED_PORT": free_port(),
            "RELO_QUOTAS_BEACONS_PER_S": UNLIMITED,
            "RELO_QUOTAS_BURST": UNLIMITED,
            **env,
        }
        self.clickhouse = self.start_clickhouse()
        self._relo("migrate")
        self._relo("apply", str(resources.files("relo_ingest") / "relo.example.toml"))
        self._cores = cores or {machine.SERVER}
        self.ingest = self.start_ingest()

    def start_ingest(self) -> Server:
        arguments, port = ["-m", "relo_ingest", "ingest"], int(str(self._env["RELO_INGEST_PORT"]))
        self.ingest = self._where.start(self._name, arguments, self._cores, port, **self._env)
        return self.ingest.wait_until("/health/ready")

    def start_clickhouse(self) -> Server:
        port = int(str(self._env["RELO_CLICKHOUSE_EMBEDDED_PORT"]))
        self.clickhouse = self._where.engine(f"{self._name}-clickhouse", self.data_dir, port)
        return self.clickhouse

    @property
    def environment(self) -> dict[str, object]:
        """Settings of every process of this product."""
        return self._env

    def events_in_clickhouse(self) -> int:
        """Rows of ``events``, once no sealed segment waits any more."""
        until = time.monotonic() + START_TIMEOUT_S
        time.sleep(2)  # the age of a segment, and the flush
        while self.waiting_bytes() and time.monotonic() < until:
            time.sleep(0.2)
        connection = http.client.HTTPConnection("127.0.0.1", self.clickhouse.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/", "SELECT count() FROM events")
            return int(connection.getresponse().read())

    def waiting_bytes(self) -> int:
        """Size of the sealed segments: what ClickHouse does not have yet, without the second that is being written."""
        total = 0
        for path in self.data_dir.glob("spool/*/*.sealed"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def _relo(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "relo_ingest", *arguments],
            env=clean_environment(**self._env),
            cwd=self._where.path,
            capture_output=True,
            check=True,
            timeout=START_TIMEOUT_S,
        )
