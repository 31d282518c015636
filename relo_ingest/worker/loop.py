"""The worker's rounds: what came in is handled, as often as the settings say, while the lease is held."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from relo_ingest.clickhouse.client import connect, connected, first_line
from relo_ingest.clickhouse.migrate import SCHEMA_VERSION, SELECT_SCHEMA_VERSION
from relo_ingest.errors import ReloError
from relo_ingest.settings import Settings
from relo_ingest.worker.changes import Changes
from relo_ingest.worker.evaluate import Session, evaluate
from relo_ingest.worker.lease import lease

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event as Stop

    from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
LONG_S = 2.0


class SchemaTooOld(ReloError):
    """The tables are older than the steps."""


class Worker:
    """One worker's place in the changes, and its session."""

    def __init__(self, client: Client) -> None:
        """Raises SchemaTooOld, or clickhouse-connect's errors."""
        version = client.command(SELECT_SCHEMA_VERSION)
        if int(str(version)) < SCHEMA_VERSION:
            raise SchemaTooOld(
                f"the schema is at version {version}, the worker needs {SCHEMA_VERSION}: run `relo migrate`"
            )
        self._session = Session(client)
        self._changes = Changes(self._session)

    def step(self, go_on: Callable[[], bool]) -> float | None:
        """Handle one slice of the changes; how many seconds it took, None when there is nothing. ``go_on`` is asked
        between its batches: when it says no, the slice is left, and read again by whoever is next. Raises
        clickhouse-connect's errors: then make another Worker."""
        found = self._changes.next()
        if found is None:
            self._changes.save()
            return None
        started = time.monotonic()
        self._session.run("touched", after=found.after, until=found.until)
        for _ in evaluate(self._session):
            if not go_on():
                return None
        self._changes.done(found)
        self._changes.save()
        took_s = time.monotonic() - started
        log.debug("changes until %s took %.0f ms", found.until, took_s * 1000)
        return took_s

    def round(self) -> None:
        """Handle everything that is there, and what comes in meanwhile. Raises as ``step``."""
        while self.step(lambda: True) is not None:
            pass


def run_round(client: Client) -> None:
    """Handle everything that came in so far. Raises SchemaTooOld, or clickhouse-connect's errors."""
    Worker(client).round()


def run_once(settings: Settings) -> None:
    """One round, for ``relo worker --once``. Raises ReloError."""
    with connected(settings) as client:
        run_round(client)


def run(settings: Settings, stop: Stop) -> None:
    """Rounds until ``stop`` is set. A failure is logged and tried again, with a growing pause."""
    mine = lease(settings)
    client: Client | None = None
    worker: Worker | None = None
    pause = settings.worker.interval_s
    while not stop.is_set():
        try:
            took_s = None
            if mine.held():
                client = client or connect(settings)
                worker = worker or Worker(client)
                took_s = worker.step(lambda: not stop.is_set() and mine.held())
            else:
                worker = None  # the other one's place is further on
            # After a slice that took long, more has come in than a pause would bring together.
            pause = 0.0 if took_s is not None and took_s > LONG_S else settings.worker.interval_s
        except Exception as error:
            pause = min(max(pause, 0.5) * 2, LONGEST_PAUSE_S)
            worker = None  # what failed here may still run there, and hold the session
            log.warning("round failed, next in %.1f s: %s", pause, first_line(error))
        stop.wait(pause)
    if client is not None:
        client.close()
    mine.release()
