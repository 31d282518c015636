"""The worker's rounds: each step in order, as often as the settings say, while the lease is held."""

from __future__ import annotations

import logging
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

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
    """One SQL file and its parameters."""

    name: str
    parameters: dict[str, Any] = {}

    def run(self, client: Client) -> None:
        client.command(
            (resources.files("relo_ingest.worker") / f"{self.name}.sql").read_text(encoding="utf-8"),
            parameters=self.parameters,
            settings=TEXT_STAYS_TEXT,
        )


STEPS = (
    Step("attribution"),
    Step("commission", {"whole": sorted(NO_MINOR_UNIT), "thousandths": sorted(THREE_DECIMAL)}),
)


class SchemaTooOld(ReloError):
    """The tables are older than the steps."""


def run_round(client: Client) -> None:
    """Every step once. Raises SchemaTooOld, or clickhouse-connect's errors."""
    version = client.command(SELECT_SCHEMA_VERSION)
    if int(str(version)) < SCHEMA_VERSION:
        raise SchemaTooOld(f"the schema is at version {version}, the worker needs {SCHEMA_VERSION}: run `relo migrate`")
    for step in STEPS:
        step.run(client)


def run_once(settings: Settings) -> None:
    """One round, for ``relo worker --once``. Raises ReloError."""
    with connected(settings) as client:
        run_round(client)


def run(settings: Settings, stop: Stop) -> None:
    """Rounds until ``stop`` is set. A failure is logged and tried again, with a growing pause."""
    mine = lease(settings)
    client: Client | None = None
    pause = settings.worker.interval_s
    while not stop.is_set():
        try:
            if mine.held():
                client = client or connect(settings)
                started = time.monotonic()
                run_round(client)
                log.debug("round took %.0f ms", (time.monotonic() - started) * 1000)
            pause = settings.worker.interval_s
        except Exception as error:
            pause = min(max(pause, 0.5) * 2, LONGEST_PAUSE_S)
            log.warning("round failed, next in %.1f s: %s", pause, first_line(error))
        stop.wait(pause)
    if client is not None:
        client.close()
    mine.release()
