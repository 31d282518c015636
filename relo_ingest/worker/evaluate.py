"""The steps over a batch of conversions: SQL files, one after the other, in one session of ClickHouse.

What a step finds it leaves in temporary tables of the session, by names that the next ones read. Only ``write`` touches
tables that others see.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from relo_ingest._fast import ulid
from relo_ingest.clickhouse.client import TEXT_STAYS_TEXT
from relo_ingest.clickhouse.script import statements
from relo_ingest.money import NO_MINOR_UNIT, THREE_DECIMAL

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BATCH = 20_000
"""Conversions at once: some hundred megabytes of temporary tables."""

STEP_SETTINGS = {"query_plan_optimize_join_order_limit": 0}
"""Joins run in the order in which they stand. Put in order by the engine, those on several columns may first be made on
``client_id`` alone, which multiplies all conversions of a client with each other."""

SELECT_STAMP = "SELECT max(version) AS version, count() AS n FROM registry"
"""Of the registry: two writes may share a version."""
CREATE_TODO = """
CREATE OR REPLACE TEMPORARY TABLE todo ENGINE = Memory AS
SELECT client_id, conversion_key, toUInt8(0) AS hop FROM touched WHERE n >= {first:UInt64} AND n < {end:UInt64}
"""


class Session:
    """A session of ClickHouse's HTTP interface: temporary tables live in it, and one statement runs at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._settings = TEXT_STAYS_TEXT | STEP_SETTINGS | {"session_id": ulid.new(), "session_timeout": 600}
        self._stamp: dict[str, Any] = {}

    def run(self, step: str, **parameters: Any) -> None:
        """Every statement of ``steps/{step}.sql``; a parameter goes to the statements that name it."""
        for sql in _statements(step):
            self.command(sql, **{k: v for k, v in parameters.items() if f"{{{k}:" in sql})

    def command(self, sql: str, **parameters: Any) -> Any:
        return self._client.command(sql, parameters=parameters, settings=self._settings)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return list(self._client.query(sql, parameters=parameters, settings=self._settings).named_results())

    def count(self, table: str) -> int:
        """Rows of a temporary table."""
        return int(str(self.command(f"SELECT count() FROM {table}")))  # noqa: S608 a name of ours

    def refresh_terms(self) -> None:
        stamp = self.rows(SELECT_STAMP)[0]
        if stamp != self._stamp:
            self.run("terms")
            self._stamp = stamp


def evaluate(session: Session, *, write: bool = True) -> Iterator[None]:
    """Answer for what the temporary table ``touched`` names, a batch at a time; yields after each.

    After a batch, ``changed_answers``, ``new_holds`` and ``new_lines`` have what differs from the tables; with
    ``write`` it is written.
    """
    touched = session.count("touched")
    for first in range(0, touched, BATCH):
        session.refresh_terms()
        session.command(CREATE_TODO, first=first, end=first + BATCH)
        session.run("relatives", hop=1)
        if session.count("todo") > min(BATCH, touched - first):
            session.run("relatives", hop=2)
        session.run("facts")
        session.run("evidence")
        session.run("own")
        for _ in range(2):
            session.run("customer")
        session.run("attribution")
        session.run("commission", whole=sorted(NO_MINOR_UNIT), thousandths=sorted(THREE_DECIMAL))
        session.run("holds")
        if write:
            session.run("write")
        yield


@cache
def _statements(step: str) -> tuple[str, ...]:
    text = (resources.files("relo_ingest.worker") / "steps" / f"{step}.sql").read_text(encoding="utf-8")
    return tuple(statements(text))
