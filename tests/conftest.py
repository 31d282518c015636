"""Real servers for the tests: the embedded engine and redis-server, each on a free loopback port."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import msgspec
import pytest
import redis
import urllib3

from relo_ingest.settings import ClickHouse, Redis, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 150.0


WAITING = ("faults", "worker", "e2e", "browser", "explain")
"""Rooms whose tests take long: they go first, so that in the end no process waits for another's last file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        room = item.path.relative_to(ROOT / "tests").parts[0]
        return WAITING.index(room) if room in WAITING else len(WAITING)

    items.sort(key=place)


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """Ours, without any setting of relo's, and with the package on the path."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("RELO_", "_RELO_", "STRIPE_", "PROMETHEUS_"))}
    return ours | {"PYTHONPATH": str(ROOT)} | more


def _wait_until(up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not up():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise AssertionError(f"did not start: {log.read_text()}")
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Engine:
    """One ``python -m relo_ingest.clickhouse.embedded`` process. ``url`` is that of the database ``default``."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "clickhouse"
        self.port = _unused_port()
        self.url = f"http://127.0.0.1:{self.port}/default"
        self._names = itertools.count(1)
        log = directory / "clickhouse.log"
        options = ["--data-dir", str(self.data_dir), "--port", str(self.port)]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "relo_ingest.clickhouse.embedded", *options],
                env=clean_environment(),
                stdout=output,
                stderr=output,
            )
        _wait_until(self._answers, self.process, log)

    def _answers(self) -> bool:
        try:
            return (
                urllib3.request("GET", f"http://127.0.0.1:{self.port}/ping", timeout=1.0, retries=False).status == 200
            )
        except urllib3.exceptions.HTTPError:
            return False

    def connect(self, url: str = "") -> Client:
        """A client, straight from the library; whoever takes it closes it."""
        return clickhouse_connect.get_client(dsn=url or self.url, query_retries=0)

    def fresh_database(self) -> str:
        """URL of a new, empty database."""
        name = f"fresh_{next(self._names)}"
        client = self.connect()
        client.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        client.close()
        return f"http://127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        _stop(self.process)


class RedisServer:
    """One redis-server without persistence; ``stop`` and ``start`` keep the port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = _unused_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        log = self._directory / "redis.log"
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        command = ["redis-server", *where, "--save", "", "--appendonly", "no"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        with redis.Redis.from_url(self.url) as client:
            _wait_until(lambda: _pongs(client), self.process, log)

    def stop(self) -> None:
        _stop(self.process)


def _pongs(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


@pytest.fixture
def free_port() -> int:
    """A loopback port that nothing listens on."""
    return _unused_port()


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The embedded engine of this module, with empty databases."""
    engine = Engine(tmp_path_factory.mktemp("engine"))
    yield engine
    engine.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Build Settings: ``settings_for(clickhouse=engine or URL, redis=server or URL, **top_level)``.

    An Engine counts as the embedded one, a URL as a server of the operator's. The data directory is the test's own.
    """

    def build(
        *, clickhouse: Engine | str | None = None, redis: RedisServer | str | None = None, **others: Any
    ) -> Settings:
        settings = Settings(data_dir=str(tmp_path / "data"))
        settings.data_path.mkdir(exist_ok=True)
        if isinstance(clickhouse, str):
            others["clickhouse"] = ClickHouse(url=clickhouse)
        elif clickhouse is not None:
            others["clickhouse"] = ClickHouse(embedded_port=clickhouse.port)
        if redis is not None:
            others["redis"] = Redis(url=redis if isinstance(redis, str) else redis.url)
        return msgspec.structs.replace(settings, **others)

    return build


@pytest.fixture
def environment() -> dict[str, str]:
    """For subprocesses: no setting of the machine that runs the tests, the package on the path."""
    return clean_environment()
