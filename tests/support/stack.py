"""ClickHouse ← proxy ← ingest, each by itself, so that a test can break any one of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import clickhouse_connect

from relo_ingest.clickhouse import migrate
from relo_ingest.registry import apply, model
from relo_ingest.registry.secrets import keyring
from relo_ingest.settings import Settings
from support.ledger import Ledger
from support.processes import Server, environment, eventually, free_port, processes_with
from support.proxy import Proxy

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NO_QUOTA: dict[str, object] = {"RELO_QUOTAS_BEACONS_PER_S": 1_000_000, "RELO_QUOTAS_BURST": 1_000_000}
"""A single client sends all of a test's load."""

_names = itertools.count(1)


class ClickHouse:
    """``relo clickhouse``, that can be killed and started again on the same port and data."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.start()

    def start(self) -> None:
        env = environment(RELO_DATA_DIR=self._directory / "data", RELO_CLICKHOUSE_EMBEDDED_PORT=self.port)
        log = self._directory / "clickhouse.log"
        self.process = Server(["relo_ingest", "clickhouse"], env, self.port, log, "/ping")

    def kill(self) -> None:
        self.process.stop(signal.SIGKILL)

    def stop(self) -> None:
        assert self.process.stop() == 0

    def connect(self, database: str) -> Client:
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, database=database, autogenerate_session_id=False
        )


class Stack:
    """An empty database with the example registry, a proxy before it, and ingests that reach it only through that."""

    def __init__(self, directory: Path, clickhouse: ClickHouse) -> None:
        self.clickhouse = clickhouse
        self.database = f"fault_{next(_names)}"
        self.ledger = Ledger()
        self.data_dir = directory / "data"
        self._directory = directory
        self._ingests: list[Server] = []
        self._prepare()
        self.proxy = Proxy(clickhouse.port)

    def _prepare(self) -> None:
        with contextlib.closing(self.clickhouse.connect("default")) as client:
            client.command(f"CREATE DATABASE {self.database} ENGINE = Atomic")
        self.data_dir.mkdir(parents=True)
        keys = keyring(Settings(data_dir=str(self.data_dir)), create=True)
        example = tomllib.loads((resources.files("relo_ingest") / "relo.example.toml").read_text())
        with self.connected() as client:
            migrate.apply(client)
            apply.write(client, apply.changes(model.parse(example, "example"), {}, keys))

    @contextlib.contextmanager
    def connected(self) -> Iterator[Client]:
        """A client straight to the database, past the proxy."""
        with contextlib.closing(self.clickhouse.connect(self.database)) as client:
            yield client

    def environment(self, **values: object) -> dict[str, str]:
        """Of a process on this stack."""
        return environment(
            RELO_DATA_DIR=self.data_dir,
            RELO_CLICKHOUSE_URL=f"http://127.0.0.1:{self.proxy.port}/{self.database}",
            **(NO_QUOTA | values),
        )

    def start_ingest(self, workers: int = 1, port: int = 0, **values: object) -> Server:
        """``relo ingest``, when all its workers serve; it is stopped with the stack, if not before."""
        port = port or free_port()
        env = self.environment(RELO_INGEST_PORT=port, RELO_INGEST_WORKERS=workers, **values)
        log = self._directory / f"ingest-{port}.log"
        ingest = Server(["relo_ingest", "ingest"], env, port, log, "/health/ready")
        self._ingests.append(ingest)
        eventually(lambda: listeners(port) == workers, f"{workers} workers serve; log: {log}")
        return ingest

    def kill_ingest(self, ingest: Server) -> None:
        """All its processes at once."""
        kill(ingest.process.pid, *children(ingest.process.pid))
        ingest.process.wait(10)

    def stop_merges(self) -> None:
        """So that a raw count finds every row that was ever inserted."""
        with self.connected() as client:
            client.command("SYSTEM STOP MERGES")

    def verify(self, *, once_even_raw: bool = False) -> None:
        """The spool drains, nothing was set aside, and the ledger's promises hold."""
        drained(self.data_dir)
        with self.connected() as client:
            self.ledger.verify(client, once_even_raw=once_even_raw)

    def close(self) -> None:
        """Stop what still runs."""
        for ingest in self._ingests:
            if ingest.process.poll() is None:
                ingest.stop(signal.SIGKILL)
        self.proxy.__exit__()


def segments(data_dir: Path) -> list[Path]:
    """Files of rows that are not in ClickHouse yet, of all processes."""
    return [p for p in data_dir.glob("spool/*/*") if p.suffix in (".open", ".sealed")]


def drained(data_dir: Path) -> None:
    """Return when every row has left the spool for ClickHouse, and none was set aside."""
    eventually(lambda: not segments(data_dir), f"the spool of {data_dir} is empty")
    aside = [*data_dir.glob("quarantine/*"), *data_dir.glob("spool/*/*.damaged")]
    assert aside == [], "rows were set aside"


def flushed(data_dir: Path) -> None:
    """Return when the rows that are in the spool now have left it, while others may come."""
    ids = {p.stem for p in segments(data_dir)}
    eventually(lambda: ids.isdisjoint(p.stem for p in segments(data_dir)), f"{ids} are flushed")


def listeners(port: int) -> int:
    """Sockets that listen there: each serving process has one of its own (SO_REUSEPORT)."""
    return Path("/proc/net/tcp").read_text().count(f":{port:04X} 00000000:0000 0A ")


def serving(data_dir: Path) -> list[int]:
    """Processes that serve the ingests of a data directory: the children of those that ``relo ingest`` started."""
    parents = {}
    for pid in processes_with(f"RELO_DATA_DIR={data_dir}\0"):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1:4] == ["-m", "relo_ingest", "ingest"]:
                parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid, parent in parents.items() if parent in parents]


def children(pid: int) -> list[int]:
    """Living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return found


def kill(*pids: int) -> None:
    """SIGKILL, to whichever of them still lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is its own: without mapped files, which the kernel may take back at any time."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise ProcessLookupError(pid)
