"""The steps over a batch of conversions: SQL files, one after the other, in one session of ClickHouse.

What a step finds it leaves in temporary tables of the session, by names that the next ones read. Only ``later_volumes``
and ``write`` touch tables that others see.

Where a step looks up ids in a large table it asks twice, for the id and for the pair of client and id: a set of one
column is compared faster, and only the pair is exact and reaches the primary key.
"""

from __future__ import annotations

import re
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

MADE_ANEW = re.compile(r"CREATE OR REPLACE TEMPORARY TABLE (?P<table>\w+) ENGINE = Memory AS\s+")

SELECT_STAMP = "SELECT max(version) AS version, count() AS n FROM registry"
"""Of the registry: two writes may share a version."""
SELECT_TIERS = "SELECT count() AS n FROM rule_terms WHERE notEmpty(tiers)"
SELECT_TODO = "SELECT count() AS n FROM todo"
SELECT_LOST = "SELECT count() AS n, groupBitXor(cityHash64(client_id, conversion_key)) AS which FROM lost"
CREATE_TODO = """
CREATE OR REPLACE TEMPORARY TABLE todo ENGINE = Memory AS
SELECT client_id, conversion_key FROM touched WHERE n >= {first:UInt64} AND n < {end:UInt64}
"""


class Session:
    """A session of ClickHouse's HTTP interface: temporary tables live in it, and one statement runs at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._made: set[str] = set()
        self._settings = TEXT_STAYS_TEXT | STEP_SETTINGS | {"session_id": ulid.new(), "session_timeout": 600}
        self._stamp: dict[str, Any] = {}
        self.has_tiers = False
        """Whether a rule has steps by the volume of a month."""

    def run(self, step: str, **parameters: Any) -> None:
        """Every statement of ``steps/{step}.sql``; a parameter goes to the statements that name it."""
        for sql in _statements(step):
            self.make(sql, **{k: v for k, v in parameters.items() if f"{{{k}:" in sql})

    def make(self, sql: str, **parameters: Any) -> None:
        """A statement of a step. A temporary table that it makes anew is emptied and filled, where it is there already:
        ``CREATE … AS`` analyses its query twice, which is much of a round for few payments."""
        found = MADE_ANEW.search(sql)
        if found and found["table"] in self._made:
            self.command(f"TRUNCATE TABLE {found['table']}")
            sql = MADE_ANEW.sub(r"INSERT INTO \g<table> ", sql, count=1)
        self.command(sql, **parameters)
        if found:
            self._made.add(found["table"])

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
            self.has_tiers = bool(self.rows(SELECT_TIERS)[0]["n"])
            self._stamp = stamp


def evaluate(session: Session, *, write: bool = True) -> Iterator[None]:
    """Answer for what the temporary table ``touched`` names, a batch at a time; yields after each.

    After a batch, ``changed_answers``, ``new_holds`` and ``new_lines`` have what differs from the tables; with
    ``write`` it is written.
    """
    touched = session.count("touched")
    for first in range(0, touched, BATCH):
        session.refresh_terms()
        session.make(CREATE_TODO, first=first, end=first + BATCH)
        _until_nothing_changes(session, "relatives", SELECT_TODO)
        session.run("facts")
        session.run("evidence")
        session.run("own")
        _until_nothing_changes(session, "customer", SELECT_LOST)
        session.run("attribution")
        session.run("rules")
        if session.has_tiers:
            session.run("volumes")
        session.run("commission", whole=sorted(NO_MINOR_UNIT), thousandths=sorted(THREE_DECIMAL))
        session.run("holds")
        if write:
            if session.has_tiers:
                session.run("later_volumes")
            session.run("write")
        yield


def _until_nothing_changes(session: Session, step: str, state: str) -> None:
    """Run the step until the state that it reads and writes stays as it is."""
    before, after = None, session.rows(state)
    while before != after:
        session.run(step)
        before, after = after, session.rows(state)


@cache
def _statements(step: str) -> tuple[str, ...]:
    text = (resources.files("relo_ingest.worker") / "steps" / f"{step}.sql").read_text(encoding="utf-8")
    return tuple(statements(text))
