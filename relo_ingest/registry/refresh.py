"""Keeps a process's snapshot fresh, and the last good copy on disk for a start without ClickHouse.

Two seconds between looks leaves room in the promise that a change is seen within five.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.clickhouse.client import connect_async, first_line
from relo_ingest.clickhouse.migrate import SCHEMA_VERSION, SELECT_SCHEMA_VERSION
from relo_ingest.registry import snapshot
from relo_ingest.registry.secrets import Keyring
from relo_ingest.registry.snapshot import Row, Snapshot
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
FIRST_LOOK_S = 1.0
"""How long a start waits for ClickHouse: usually it is there, and the first request meets what is in force."""
COPY_FILE = "registry.json"

SELECT_STAMP = "SELECT max(version), count() FROM registry"
"""Two writes in the same millisecond share a version, and still differ in the count."""
SELECT_ROWS = "SELECT kind, key, body FROM registry_current ORDER BY kind, key"


class Copy(msgspec.Struct):
    """The file: rows as stored, secrets still encrypted."""

    version: int
    rows: list[Row]


class Registry:
    """The current snapshot (``.snapshot``), the schema's version, and the task that renews both.

    ``schema_version`` is None until ClickHouse was asked once.
    """

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self._settings = settings
        self._keyring = keyring
        self._path = settings.data_path / COPY_FILE
        self._client: AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None
        self.snapshot: Snapshot = snapshot.EMPTY
        self.schema_version: int | None = None
        self._stamp: tuple[int, ...] = ()
        self._said = ""
        self._looked = asyncio.Event()

    @property
    def schema_is_old(self) -> bool:
        return self.schema_version is not None and self.schema_version < SCHEMA_VERSION

    async def start(self) -> None:
        """Load the copy on disk, and look at ClickHouse from now on. Never fails, and waits for a moment at most."""
        self._load_copy()
        self._task = asyncio.create_task(self._run(), name="registry")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), FIRST_LOOK_S)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _run(self) -> None:
        while True:
            await self._try_refresh()
            self._looked.set()
            await asyncio.sleep(INTERVAL_S)

    async def _try_refresh(self) -> None:
        try:
            await self._refresh()
            self._said = ""
        except Exception as error:  # whatever is wrong over there, the last snapshot stays in force
            reason = first_line(error)
            if reason != self._said:  # once, not every two seconds of a long outage
                log.warning("registry not refreshed: %s", reason)
                self._said = reason

    async def _refresh(self) -> None:
        if self._client is None:
            self._client = await connect_async(self._settings)
        self.schema_version = int(str(await self._client.command(SELECT_SCHEMA_VERSION)))
        if self.schema_is_old:
            return
        stamp = tuple((await self._client.query(SELECT_STAMP)).result_rows[0])
        if stamp == self._stamp:
            return
        version = int(stamp[0])
        rows: list[Row] = [tuple(r) for r in (await self._client.query(SELECT_ROWS)).result_rows]
        self._use(version, rows)
        log.info("registry version %d in force", version)
        write_atomically(self._path, msgspec.json.encode(Copy(version, rows)))
        self._stamp = stamp  # last, so that a copy that could not be written is tried again

    def _load_copy(self) -> None:
        try:
            copy = msgspec.json.decode(self._path.read_bytes(), type=Copy)
            self._use(copy.version, copy.rows)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            log.error("registry copy %s not usable: %s", self._path, error)

    def _use(self, version: int, rows: list[Row]) -> None:
        self.snapshot = snapshot.build(version, rows, self._keyring, self._settings.stripe_webhook_secret)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` so that a reader, or a crash, finds the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
