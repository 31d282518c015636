"""The worker's rounds: each step in order, as often as the settings say, while the lease is held."""

from __future__ import annotations

import logging
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from relo_ingest._fast import ulid
from relo_ingest.clickhouse.client import TEXT_STAYS_TEXT, connect, connected, first_line
from relo_ingest.clickhouse.migrate import SCHEMA_VERSION, SELECT_SCHEMA_VERSION
from relo_ingest.errors import ReloError
from relo_ingest.money import NO_MINOR_UNIT, THREE_DECIMAL
from relo_ingest.settings import Settings
from relo_ingest.worker.lease import lease

if TYPE_CHECKING:
    from threading import Event as Stop

    from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0


class Step(msgspec.Struct, frozen=True):
    """What is to be done, ``{name}_todo.sql``, and doing it, ``{name}.sql``; ``parameters`` are the first one's."""

    name: str
    parameters: dict[str, Any] = {}

    def run(self, client: Client, session_id: str) -> None:
        """The temporary table between the two files lives in the session; an empty one ends the step."""
        settings = TEXT_STAYS_TEXT | {"session_id": session_id}
        client.command(_sql(f"{self.name}_todo"), parameters=self.parameters, settings=settings)
        if client.command(f"SELECT count() FROM {self.name}_todo", settings=settings):  # noqa: S608 a name of ours
            client.command(_sql(self.name), settings=settings)


STEPS = (
    Step("attribution"),
    Step("commission", {"whole": sorted(NO_MINOR_UNIT), "thousandths": sorted(THREE_DECIMAL)}),
)

SELECT_STATE = """
SELECT sum(total_rows) FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name NOT IN ('events', 'traffic_daily_states')
"""
"""Changes whenever something comes in that a step may look at; costs next to nothing."""
LONGEST_REST_S = 5.0
"""A round is made after this long even when nothing seems to have come: a merge may hide an insert in the count."""


class SchemaTooOld(ReloError):
    """The tables are older than the steps."""


def run_round(client: Client, session_id: str = "") -> None:
    """Every step once, in the given session or one of its own. Raises SchemaTooOld, or clickhouse-connect's errors."""
    version = client.command(SELECT_SCHEMA_VERSION)
    if int(str(version)) < SCHEMA_VERSION:
        raise SchemaTooOld(f"the schema is at version {version}, the worker needs {SCHEMA_VERSION}: run `relo migrate`")
    session_id = session_id or ulid.new()
    for step in STEPS:
        step.run(client, session_id)


def run_once(settings: Settings) -> None:
    """One round, for ``relo worker --once``. Raises ReloError."""
    with connected(settings) as client:
        run_round(client)


def run(settings: Settings, stop: Stop) -> None:
    """Rounds until ``stop`` is set. A failure is logged and tried again, with a growing pause."""
    mine = lease(settings)
    client: Client | None = None
    pause = settings.worker.interval_s
    session_id = ulid.new()  # one for all rounds: a server keeps each for a minute
    seen, next_round = "", 0.0
    while not stop.is_set():
        try:
            if mine.held():
                client = client or connect(settings)
                state, started = str(client.command(SELECT_STATE)), time.monotonic()
                if state != seen or started >= next_round:
                    run_round(client, session_id)
                    log.debug("round took %.0f ms", (time.monotonic() - started) * 1000)
                    seen, next_round = state, started + LONGEST_REST_S
            pause = settings.worker.interval_s
        except Exception as error:
            pause = min(max(pause, 0.5) * 2, LONGEST_PAUSE_S)
            session_id = ulid.new()  # what failed here may still run there, and hold the old one
            log.warning("round failed, next in %.1f s: %s", pause, first_line(error))
        stop.wait(pause)
    if client is not None:
        client.close()
    mine.release()


def _sql(name: str) -> str:
    return (resources.files("relo_ingest.worker") / f"{name}.sql").read_text(encoding="utf-8")
