"""``relo recompute``: the answers once more from the facts, for everything of a client since a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.errors import ConfigError
from relo_ingest.worker.evaluate import Session, evaluate

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CREATE_TOUCHED = """
CREATE OR REPLACE TEMPORARY TABLE touched ENGINE = Memory AS
SELECT client_id, conversion_key, rowNumberInAllBlocks() AS n
FROM
(
    SELECT client_id, conversion_key FROM conversions
    WHERE client_id = {client_id:UInt32} AND event_time >= {since:DateTime64(3, 'UTC')}
    UNION DISTINCT
    SELECT client_id, conversion_key FROM attribution_rows
    WHERE client_id = {client_id:UInt32} AND event_time >= {since:DateTime64(3, 'UTC')}
)
"""
SELECT_LINES = """
SELECT conversion_key, partner_ref, kind, amount, currency, JSONExtractString(reason, 'cause') AS cause
FROM new_lines ORDER BY conversion_key, partner_ref, kind
"""
SELECT_ANSWERS = """
SELECT c.conversion_key AS conversion_key, k.method AS former_method, k.partner_ref AS former_partner_ref,
       if(c.gone, 'gone', c.method) AS method, c.partner_ref AS partner_ref
FROM changed_answers AS c
LEFT JOIN known_answers AS k ON k.client_id = c.client_id AND k.conversion_key = c.conversion_key
WHERE (k.method, k.partner_ref) != (method, c.partner_ref)
ORDER BY conversion_key
"""


SELECT_CLIENT = "SELECT client_id FROM clients WHERE slug = {slug:String}"


class MissingLine(msgspec.Struct, frozen=True):
    """A line that the ledger lacks; ``amount`` in whole units of ``currency``."""

    conversion_key: str
    partner_ref: str
    kind: str
    amount: Decimal
    currency: str
    cause: str

    def __str__(self) -> str:
        return f"{self.conversion_key}: {self.partner_ref} {self.amount:+f} {self.currency} ({self.kind}: {self.cause})"


class OtherAnswer(msgspec.Struct, frozen=True):
    """An attribution that would be another."""

    conversion_key: str
    former_method: str
    former_partner_ref: str
    method: str
    partner_ref: str

    def __str__(self) -> str:
        before = f"{self.former_method} {self.former_partner_ref}".strip() or "no answer"
        return f"{self.conversion_key}: {before} → {f'{self.method} {self.partner_ref}'.strip()}"


def client_id_of(client: Client, slug: str) -> int:
    """Raises ConfigError for a slug that the registry does not know."""
    rows = client.query(SELECT_CLIENT, parameters={"slug": slug}).result_rows
    if not rows:
        raise ConfigError(f"there is no client {slug}")
    return int(rows[0][0])


def recompute(
    client: Client, client_id: int, since: dt.datetime, *, dry_run: bool
) -> Iterator[MissingLine | OtherAnswer]:
    """What differs from the tables, which is nothing when the worker is up to date; without ``dry_run`` it is written.

    Payments of ``since`` and later are looked at. Raises clickhouse-connect's errors.
    """
    session = Session(client)
    session.command(CREATE_TOUCHED, client_id=client_id, since=since)
    for _ in evaluate(session, write=not dry_run):
        for row in session.rows(SELECT_ANSWERS):
            yield OtherAnswer(**row)
        for row in session.rows(SELECT_LINES):
            yield MissingLine(**row)
