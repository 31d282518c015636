"""An ingest that is started, killed and started again on one data directory, with ClickHouse there or away."""

from __future__ import annotations

import asyncio
import re
import signal
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from cryptography.fernet import Fernet

from relo_ingest._fast.segment import Segment
from relo_ingest.clickhouse import migrate
from relo_ingest.registry import apply, model
from relo_ingest.registry.refresh import COPY_FILE, Registry
from relo_ingest.registry.secrets import keyring
from relo_ingest.settings import ClickHouse, Settings
from support.processes import PATIENCE_S, Server, environment, eventually, free_port, processes_with, relo

AWAY = "http://127.0.0.1:9/nothing"
"""The discard port: nobody listens there."""
KEY = Fernet.generate_key().decode()


class Station:
    """A database of its own with schema and example registry, a data directory, and the ingests that work on it."""

    def __init__(self, directory: Path, engine: Any, data_dir: Path | None = None) -> None:
        self.directory = directory
        self.data_dir = data_dir or directory / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.url: str = engine.fresh_database()
        self.client = engine.connect(self.url)
        self.settings = Settings(data_dir=str(self.data_dir), clickhouse=ClickHouse(url=self.url), secret_key=KEY)
        self._servers: list[Server] = []
        self._prepare()

    def _prepare(self) -> None:
        migrate.apply(self.client)
        # A row that was inserted twice must be seen as two.
        self.client.command("SYSTEM STOP MERGES events")
        keys = keyring(self.settings, create=True)
        example = (resources.files("relo_ingest") / "relo.example.toml").read_text()
        apply.write(self.client, apply.changes(model.parse(tomllib.loads(example), "example"), {}, keys))

        async def copy_registry() -> None:  # an ingest that never saw ClickHouse starts from this file
            registry = Registry(self.settings, keys)
            await registry.start()
            async with asyncio.timeout(PATIENCE_S):
                while not (self.data_dir / COPY_FILE).exists():  # start() does not wait for it longer than a moment
                    await asyncio.sleep(0.02)
            await registry.stop()

        asyncio.run(copy_registry())

    def environment(self, **values: object) -> dict[str, str]:
        given = {
            "RELO_DATA_DIR": self.data_dir,
            "RELO_CLICKHOUSE_URL": self.url,
            "RELO_SECRET_KEY": KEY,
            "RELO_QUOTAS_BURST": 1_000_000,
        }
        return environment(**given | {f"RELO_{name}".upper(): value for name, value in values.items()})

    def ingest(self, *, away: bool = False, extra: dict[str, str] | None = None, **values: object) -> Server:
        """A ``relo ingest`` that answers; settings as keywords: ``spool_max_age_ms=100``."""
        port = free_port()
        if away:
            values["clickhouse_url"] = AWAY
        env = self.environment(ingest_port=port, **values) | (extra or {})
        log = self.directory / f"ingest-{len(self._servers)}.log"
        server = Server(["relo_ingest", "ingest"], env, port, log, "/health/live")
        self._servers.append(server)
        return server

    def kill(self, server: Server) -> None:
        """-9, to the parent; its processes go with it."""
        server.stop(signal.SIGKILL)
        mark = f"RELO_INGEST_PORT={server.port}\0"
        eventually(lambda: not processes_with(mark), "the killed ingest is gone with its processes")

    def close(self) -> None:
        for server in self._servers:
            if server.process.poll() is None:
                self.kill(server)
        self.client.close()

    def relo(self, *arguments: str) -> str:
        """What a command prints; it must succeed."""
        done = relo(*arguments, env=self.environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(r) for r in self.client.query(sql, parameters=parameters).result_rows]

    def count(self, table: str = "events") -> int:
        return int(self.rows(f"SELECT count() FROM {table}")[0][0])

    def landed(self) -> list[str]:
        """The event id of every row, so that one that came twice stands there twice."""
        return [r[0] for r in self.rows("SELECT event_id FROM events ORDER BY event_id")]

    def segments(self) -> list[Path]:
        """Files of the spool that hold rows to be sent, oldest first."""
        found = [p for p in (self.data_dir / "spool").rglob("*") if p.suffix in (".open", ".sealed")]
        return sorted(found, key=lambda p: p.stem.rpartition("-")[2])


def metric(server: Server, name: str) -> float:
    """The sum over all label values; 0 when there is none."""
    text = server.http.get("/metrics").text
    return sum(float(m[1]) for m in re.finditer(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def messages(server: Server) -> list[str]:
    """What its processes logged."""
    lines = server.log.read_text().splitlines()
    return [msgspec.json.decode(line)["message"] if line.startswith("{") else line for line in lines]


def event_ids(segment: Segment) -> list[str]:
    """Of the rows of a segment that was written with ``event_id`` first (ids here are shorter than 128 bytes)."""
    return [(row := segment.row(i))[1 : 1 + row[0]].decode() for i in range(segment.rows)]


def no_traceback(server: Server) -> bool:
    return "Traceback" not in server.log.read_text()
