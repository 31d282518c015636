"""What came in since: slices of the table ``changes``.

A row's time is when its insert began, so a slow insert becomes visible after faster ones that began later. Each slice
is therefore counted when it is read, and counted again a minute later: if rows have come to it, it is read once more.
How far everything has been counted twice stands in ``worker_state``; a worker that starts goes on from there.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import msgspec

from relo_ingest.worker.evaluate import Session

SETTLED_AFTER = dt.timedelta(seconds=60)
"""An insert that takes longer than this has failed: the flusher gives up after half of it."""
ROWS = 500_000
"""Changes in one slice, more only where one insert brought more."""
SAVE_EVERY_S = 10.0

BEGINNING = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)

SELECT_CURSOR = "SELECT max(value) AS value FROM worker_state WHERE name = 'settled'"
SELECT_UNTIL = """
SELECT max(seen_at) AS until, count() AS n
FROM
(
    SELECT seen_at FROM changes
    WHERE seen_at > {after:DateTime64(3, 'UTC')} AND seen_at <= now64(3)
    ORDER BY seen_at LIMIT {rows:UInt64}
)
"""
SELECT_COUNT = """
SELECT count() AS n FROM changes
WHERE seen_at > {after:DateTime64(3, 'UTC')} AND seen_at <= {until:DateTime64(3, 'UTC')}
"""
SELECT_NOW = "SELECT now64(3) AS now"
INSERT_CURSOR = "INSERT INTO worker_state (name, value) VALUES ('settled', {value:DateTime64(3, 'UTC')})"
SELECT_SETTLED_DAYS = """
SELECT DISTINCT partition AS day FROM system.parts
WHERE database = currentDatabase() AND table = 'changes' AND active
  AND partition < toString(toDate({settled:DateTime64(3, 'UTC')}))
"""


class Slice(msgspec.Struct, frozen=True):
    """Changes after one time until another; ``rows`` were visible when it was counted."""

    after: dt.datetime
    until: dt.datetime
    rows: int


class Changes:
    """The slices that one worker reads. ``next`` gives one to handle, ``done`` says that it was."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.settled: dt.datetime = _utc(session.rows(SELECT_CURSOR)[0]["value"])
        self._read = self.settled
        self._unsettled: list[Slice] = []
        self._saved_at = time.monotonic()

    def next(self) -> Slice | None:
        """The next slice with something in it: one that was late, else what is new. None when there is nothing."""
        return self._late() or self._new()

    def done(self, handled: Slice) -> None:
        """The slice was handled: go on after it, and look at it once more when it has settled."""
        self._read = max(self._read, handled.until)
        self._unsettled.append(handled)

    def save(self, *, now: bool = False) -> None:
        """Write the cursor when it has moved for a while, and drop days before it."""
        if not now and time.monotonic() - self._saved_at < SAVE_EVERY_S:
            return
        self._saved_at = time.monotonic()
        self._session.command(INSERT_CURSOR, value=self.settled)
        for row in self._session.rows(SELECT_SETTLED_DAYS, settled=self.settled):
            self._session.command("ALTER TABLE changes DROP PARTITION {day:String}", day=row["day"])

    def _new(self) -> Slice | None:
        found = self._session.rows(SELECT_UNTIL, after=self._read, rows=ROWS)[0]
        if not found["n"]:
            return None
        until = _utc(found["until"])
        rows = self._session.rows(SELECT_COUNT, after=self._read, until=until)[0]["n"]
        return Slice(self._read, until, rows)

    def _late(self) -> Slice | None:
        """Move the settled time over slices that are complete; give back the first that is not."""
        while self._unsettled:
            first = self._unsettled[0]
            if first.until > _utc(self._session.rows(SELECT_NOW)[0]["now"]) - SETTLED_AFTER:
                return None
            del self._unsettled[0]
            rows = self._session.rows(SELECT_COUNT, after=first.after, until=first.until)[0]["n"]
            if rows != first.rows:
                return Slice(first.after, first.until, rows)
            self.settled = max(self.settled, first.until)
        return None


def _utc(value: Any) -> dt.datetime:
    found = value if isinstance(value, dt.datetime) else BEGINNING
    found = found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found
    return max(found, BEGINNING)
