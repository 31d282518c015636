"""ClickHouse's HTTP sessions: a connection kept between requests under the name the client gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from .engine import Connection
from .errors import QueryError

_DEFAULT_TIMEOUT, _MAX_TIMEOUT = (
    60,
    3600,
)  # seconds; ClickHouse's default_session_timeout, max_session_timeout


@dataclass(slots=True)
class _Session:
    connection: Connection
    busy: bool = True
    expiry: asyncio.TimerHandle | None = None


class Sessions:
    """All sessions of a server; used on its event loop only. Idle ones cost a timer, no CPU."""

    def __init__(self, connect: Callable[[], Connection], pool: Executor) -> None:
        self._connect, self._pool = connect, pool
        self._by_id: dict[str, _Session] = {}

    @staticmethod
    def timeout(given: str | None) -> int:
        """Seconds; raises QueryError 374 when it is no number or above an hour."""
        if given is None:
            return _DEFAULT_TIMEOUT
        if not given.isdecimal():
            raise QueryError(374, "INVALID_SESSION_TIMEOUT", f"Invalid session timeout: '{given}'")
        if int(given) > _MAX_TIMEOUT:
            text = f"Session timeout '{given}' is larger than max_session_timeout: {_MAX_TIMEOUT}"
            raise QueryError(374, "INVALID_SESSION_TIMEOUT", text)
        return int(given)

    def acquire(self, session_id: str, *, must_exist: bool) -> Connection:
        """The session's connection, now ours alone; QueryError 373 when in use, 372 when it should exist."""
        session = self._by_id.get(session_id)
        if session is None:
            if must_exist:
                raise QueryError(372, "SESSION_NOT_FOUND", f"Session {session_id} not found")
            session = self._by_id[session_id] = _Session(self._connect())
        elif session.busy:
            raise QueryError(373, "SESSION_IS_LOCKED", f"Session {session_id} is locked by a concurrent client")
        session.busy = True
        if session.expiry is not None:
            session.expiry.cancel()
        return session.connection

    def release(self, session_id: str, timeout: int, *, close: bool = False) -> None:
        """Give it back; it is closed `timeout` seconds after its last use."""
        session = self._by_id[session_id]
        session.busy = False
        if close:
            self._expire(session_id)
        else:
            session.expiry = asyncio.get_running_loop().call_later(timeout, self._expire, session_id)

    def _expire(self, session_id: str) -> None:
        session = self._by_id.pop(session_id)
        self._pool.submit(session.connection.close)

    def close(self) -> None:
        """Close all of them; no request may be running."""
        for session in self._by_id.values():
            if session.expiry is not None:
                session.expiry.cancel()
            session.connection.close()
        self._by_id.clear()
