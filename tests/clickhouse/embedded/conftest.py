"""A real server process on a free loopback port, shared by the tests here; `start` for one of one's own."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_names = itertools.count()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> int:
        return int(self.headers.get("x-clickhouse-exception-code", "0"))


class Server:
    """One `python -m relo_ingest.clickhouse.embedded` process."""

    def __init__(self, data_dir: Path, *options: str, port: int | None = None) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        command = [sys.executable, "-m", "relo_ingest.clickhouse.embedded", "--data-dir", str(data_dir)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def wait_ready(self) -> Server:
        for _ in range(400):
            if self.process.poll() is not None:
                raise AssertionError(self.process.communicate()[0].decode())
            try:
                if self.request("/ping").status == 200:
                    return self
            except OSError:
                time.sleep(0.025)
        raise AssertionError("the server does not answer /ping")

    def request(
        self,
        path: str = "/",
        body: bytes | None = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        **params: str | int,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=150)
        try:
            url = path + ("?" + urllib.parse.urlencode(params) if params else "")
            connection.request(method or ("GET" if body is None else "POST"), url, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def run(self, sql: str, **params: str | int) -> str:
        """The answer to a statement that has to succeed, as text without the last newline."""
        answer = self.request("/", sql.encode(), **params)
        assert answer.status == 200, answer.text
        return answer.text.removesuffix("\n")

    def rss(self) -> int:
        """Resident bytes of the server process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of the test's own; all are killed at its end."""
    servers: list[Server] = []

    def _start(*options: str, data_dir: Path | None = None, port: int | None = None, ready: bool = True) -> Server:
        servers.append(Server(data_dir or tmp_path / "data", *options, port=port))
        return servers[-1].wait_ready() if ready else servers[-1]

    yield _start
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = Server(tmp_path_factory.mktemp("clickhouse")).wait_ready()
    yield shared
    try:
        assert shared.stop() == 0
    finally:
        shared.process.kill()
        shared.process.communicate()


@pytest.fixture
def table() -> str:
    """A table name no other test uses."""
    return f"t{os.getpid()}_{next(_names)}"


def row_binary(rows: int, *, start: int = 0, width: int = 16) -> bytes:
    """Rows of `(id UInt64, name String)` with names of `width` (< 128) bytes."""
    name = bytes([width]) + b"x" * width
    return b"".join(struct.pack("<Q", start + i) + name for i in range(rows))
