"""Numbered migrations: ``schema/NNNN_name.sql``, recorded with checksums in ``schema_migrations``.

ClickHouse has no transactions over DDL, so a migration may stop half-way. Each of its statements is
therefore written to be safe when run again (IF NOT EXISTS, OR REPLACE), and a migration is recorded
only after its last statement: running ``relo migrate`` again completes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.clickhouse.script import statements
from relo_ingest.errors import ReloError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number     UInt32,
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""

SELECT_APPLIED = "SELECT number, any(name), any(checksum) FROM schema_migrations GROUP BY number ORDER BY number"

SELECT_SCHEMA_VERSION = "SELECT max(number) FROM schema_migrations"


class SchemaConflict(ReloError):
    """The database was migrated by other files than these."""


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: a migration that was applied may not change any more."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        return statements(self.sql)


def shipped() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    found = []
    for entry in resources.files("relo_ingest.clickhouse.schema").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda m: m.number)
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise SchemaConflict("the shipped migrations are not numbered 1, 2, 3, …: reinstall relo_ingest")
    return tuple(found)


SCHEMA_VERSION = len(shipped())
"""The schema that this code writes and reads."""


def pending(client: Client) -> list[Migration]:
    """What is still to be applied. Raises SchemaConflict when an applied migration differs from the shipped one."""
    applied = {}
    if client.command("EXISTS TABLE schema_migrations") == 1:
        applied = {number: checksum for number, _, checksum in client.query(SELECT_APPLIED).result_rows}
    for migration in shipped():
        known = applied.get(migration.number)
        if known is not None and known != migration.checksum:
            raise SchemaConflict(
                f"migration {migration.number:04}_{migration.name} was applied with other contents; "
                "restore that file, and put the change into a new migration"
            )
    return [m for m in shipped() if m.number not in applied]


def apply(client: Client) -> list[Migration]:
    """Apply what is pending, in order; returns it."""
    todo = pending(client)
    if todo:
        client.command(CREATE_RECORD)
    for migration in todo:
        for statement in migration.statements():
            client.command(statement)
        client.insert(
            "schema_migrations",
            [(migration.number, migration.name, migration.checksum)],
            column_names=["number", "name", "checksum"],
        )
    return todo
