"""What came in since: slices of the table ``changes``.

A row's time is when its insert began, and it may be seen a little before the rest of what the same insert brings: the
tables behind the views become visible one after the other. Everything is therefore read twice: at once, and again one
or two minutes after it was handled, when all of it is there. How far everything was read twice stands in
``worker_state``; a worker that starts goes on from there.

Times are the server's. When its clock goes back, what comes in then lies before what was read already, so everything
that is still there is read again.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import Any

import msgspec

from relo_ingest.worker.evaluate import Session

log = logging.getLogger(__name__)

SETTLED_AFTER = dt.timedelta(seconds=60)
"""An insert that takes longer than this has failed: the flusher gives up after half of it, and a worker's own inserts
take less. It begins when the slice was handled, so that it also covers what another worker wrote meanwhile."""
AGAIN_EVERY = dt.timedelta(seconds=60)
"""What has settled waits up to so long for more: a round costs hardly less for one payment than for a thousand."""
ROWS = 500_000
"""Changes in one slice, more only where one insert brought more."""
SAVE_EVERY_S = 10.0

BEGINNING = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)

SELECT_CURSOR = "SELECT max(value) AS value, now64(3) AS now FROM worker_state WHERE name = 'settled'"
SELECT_UNTIL = """
SELECT max(seen_at) AS until, now64(3) AS now
FROM
(
    SELECT seen_at FROM changes
    WHERE seen_at > {after:DateTime64(3, 'UTC')} AND seen_at <= now64(3)
    ORDER BY seen_at LIMIT {rows:UInt64}
)
"""
SELECT_NOW = "SELECT now64(3) AS now"
INSERT_CURSOR = "INSERT INTO worker_state (name, value) VALUES ('settled', {value:DateTime64(3, 'UTC')})"
FORGET_CURSOR = "TRUNCATE TABLE worker_state"
SELECT_SETTLED_DAYS = """
SELECT DISTINCT partition AS day FROM system.parts
WHERE database = currentDatabase() AND table = 'changes' AND active
  AND partition < toString(toDate({settled:DateTime64(3, 'UTC')}))
"""


class Slice(msgspec.Struct, frozen=True):
    """Changes after one time until another; ``again``: it was handled before."""

    after: dt.datetime
    until: dt.datetime
    again: bool = False


class Changes:
    """The slices that one worker reads. ``next`` gives one to handle, ``done`` says that it was."""

    def __init__(self, session: Session) -> None:
        self._session = session
        found = session.rows(SELECT_CURSOR)[0]
        self.settled: dt.datetime = _utc(found["value"])
        self._read = self.settled
        self._unsettled: list[tuple[dt.datetime, Slice]] = []
        """What was handled once, each with the time of that."""
        self._saved_at = time.monotonic()
        self._look_at_the_clock(_utc(found["now"]))

    def next(self) -> Slice | None:
        """The next slice with something in it: one that has settled, else what is new. None when there is nothing."""
        found = self._session.rows(SELECT_UNTIL, after=self._read, rows=ROWS)[0]
        now = _utc(found["now"])
        if self._look_at_the_clock(now):
            return self.next()
        if self._unsettled and self._unsettled[0][0] + SETTLED_AFTER + AGAIN_EVERY <= now:
            settled = [s for handled_at, s in self._unsettled if handled_at + SETTLED_AFTER <= now]
            return Slice(settled[0].after, settled[-1].until, again=True)
        until = _utc(found["until"])
        return Slice(self._read, until) if until > self._read else None

    def done(self, handled: Slice) -> None:
        """The slice was handled: go on after it, and look at it once more when it has settled."""
        if handled.again:
            self._unsettled = [(at, s) for at, s in self._unsettled if s.until > handled.until]
            self.settled = handled.until
        else:
            self._read = handled.until
            self._unsettled.append((_utc(self._session.rows(SELECT_NOW)[0]["now"]), handled))

    def save(self, *, now: bool = False) -> None:
        """Write the cursor when it has moved for a while, and drop days before it."""
        if not now and time.monotonic() - self._saved_at < SAVE_EVERY_S:
            return
        self._saved_at = time.monotonic()
        self._session.command(INSERT_CURSOR, value=self.settled)
        for row in self._session.rows(SELECT_SETTLED_DAYS, settled=self.settled):
            self._session.command("ALTER TABLE changes DROP PARTITION {day:String}", day=row["day"])

    def _look_at_the_clock(self, now: dt.datetime) -> bool:
        """Whether it went back behind what was read, and everything that is kept is to be read again."""
        if now >= self._read:
            return False
        log.warning("ClickHouse's clock went back by %s or more: everything is looked at again", self._read - now)
        self._session.command(FORGET_CURSOR)
        self.settled = self._read = BEGINNING
        self._unsettled.clear()
        return True


def _utc(value: Any) -> dt.datetime:
    found = value if isinstance(value, dt.datetime) else BEGINNING
    found = found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found
    return max(found, BEGINNING)
