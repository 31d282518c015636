"""The engine itself: one data directory, held by one process, and its connections.

chDB facts this rests on (measured with chDB 4.4, ClickHouse 26.9): any number of connections per process, each
with its own settings, database and temporary tables; 0.07 ms to open one; queries on different connections run at
the same time and release the GIL; a connection may move between threads, but does one thing at a time. chDB does
not survive fork(), so nothing in this process may fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import DataDirectoryInUse, DataDirectoryUnusable, EngineMissing, QueryError
from .statements import quote, quote_identifier

_LOCK = "relo.lock"


class Engine:
    """chDB over `data_dir`, locked for this process until `close`."""

    def __init__(self, data_dir: Path) -> None:
        """Raises EngineMissing, DataDirectoryInUse, DataDirectoryUnusable."""
        self.spool_dir = data_dir / "relo-spool"
        try:
            self.spool_dir.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"cannot write to the ClickHouse data directory {data_dir}: {error.strerror};"
                " give this user write access or choose another directory"
            ) from None
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock_fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock_fd)
            raise DataDirectoryInUse(
                f"the ClickHouse data directory {data_dir} is in use by process {holder};"
                " stop that process or choose another directory"
            ) from None
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)
        try:
            self._open(data_dir)
        except BaseException:
            os.close(self._lock_fd)
            raise

    def _open(self, data_dir: Path) -> None:
        try:
            import chdb
        except ImportError as error:
            raise EngineMissing(
                f"the embedded ClickHouse engine is missing ({error}); pip install 'relo_ingest[embedded]'"
                " or set RELO_CLICKHOUSE_URL"
            ) from None
        path = str(data_dir.resolve())
        if "?" in path:
            raise DataDirectoryUnusable(f"chDB cannot open a path with '?': {path}; choose another directory")
        # chDB would put its own handlers in place of ours, and SIGTERM would not reach us.
        native: Any = chdb._chdb  # chdb.Connection keeps a cursor nobody needs
        native.set_signal_handlers_enabled(0)
        self._connect: Callable[[], Any] = lambda: native.connect(path)
        try:
            # Stays open: the engine lives as long as its last connection. Also the one that cancels queries.
            self._control = self._connect()
            facts = self._control.query("SELECT version(), timezone(), hostName()", "JSONCompactEachRow")
            self.version, self.timezone, self.display_name = json.loads(facts.bytes())
        except Exception as error:
            raise DataDirectoryUnusable(
                f"the ClickHouse engine cannot open {data_dir}: {' '.join(str(error).split())[:500]};"
                " restore the directory from a backup, or move it away to start empty"
            ) from None
        self._control_lock = threading.Lock()

    def connect(self) -> Connection:
        """A connection of its own session."""
        return Connection(self._connect())

    def kill(self, marker: str | None = None) -> None:
        """Cancel the running queries of one connection, or of all; returns at once."""
        which = f"Settings['log_comment'] = {quote(marker)}" if marker else "1"
        with self._control_lock, contextlib.suppress(Exception):
            self._control.query(f"KILL QUERY WHERE {which} ASYNC", "Null")

    def close(self) -> None:
        """Close the engine; every `Connection` must be closed before. The directory is free afterwards."""
        with self._control_lock:
            self._control.close()
        os.close(self._lock_fd)


class Connection:
    """One chDB session, whose settings and database are brought in line with each request before it runs.

    A real server applies a request's settings to that request only. Here they are SET on the connection, and
    the next request on it (with `session_id`) changes only what differs: the same settings again cost nothing.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.marker = uuid.uuid4().hex  # found again in system.processes, as log_comment
        self._applied: dict[str, str] = {}
        self._own: dict[str, str] = {}  # what a SET statement in this session has set
        self._database = self._current = "default"

    def prepare(self, settings: dict[str, str], database: str | None) -> None:
        """Apply a request's settings and database; raises QueryError as the engine does (115, 81, …)."""
        target = database or self._database
        try:
            if target != self._current:
                self.raw.query(f"USE {quote_identifier(target)}", "Null")
                self._current = target
            changes = [
                f"{name} = {quote(value)}" for name, value in settings.items() if self._applied.get(name) != value
            ]
            changes += [self._undo(name) for name in self._applied if name not in settings]
            if changes:
                self.raw.query("SET " + ", ".join(changes), "Null")
        except RuntimeError as error:
            for name in {**self._applied, **settings}:  # how far SET came is not known
                with contextlib.suppress(RuntimeError):
                    self.raw.query("SET " + self._undo(name), "Null")
            self._applied = {}
            raise QueryError.from_engine(error) from None
        self._applied = settings

    def _undo(self, name: str) -> str:
        return f"{name} = {quote(self._own[name])}" if name in self._own else f"{name} = DEFAULT"

    def remember(self) -> None:
        """After SET or USE in a session: these now are what the session returns to."""
        rows = self.raw.query("SELECT name, value FROM system.settings WHERE changed", "JSONCompactEachRow").bytes()
        changed = dict(json.loads(line) for line in rows.splitlines())
        self._own = {name: value for name, value in changed.items() if name not in self._applied and name != "database"}
        current = self.raw.query("SELECT currentDatabase()", "JSONCompactEachRow").bytes()
        self._database = self._current = json.loads(current)[0]

    def close(self) -> None:
        """Ends the session: its temporary tables are gone, a query still streaming is cancelled."""
        self.raw.close()
