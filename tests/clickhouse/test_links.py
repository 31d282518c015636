"""What links said, in the table ``clicks``: also of clicks that were there before the columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from relo_ingest.clickhouse import migrate
from relo_ingest.clickhouse.client import INSERT_SETTINGS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BEFORE_LINKS = 8
NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
SAID = {"s1": "2026-01-01T00:00:00Z", "s10": "007", "fbclid": "IwAR0aB", "_relo_country": "MX", "_relo_repeat": True}
COLUMNS = "s1, s2, s10, fbclid, country, code, is_repeat"


@pytest.fixture
def upgraded(clickhouse: Any) -> Iterator[Client]:
    """A database that had a click before it learnt of links' columns."""
    client = clickhouse.connect(clickhouse.fresh_database())
    for migration in migrate.shipped()[:BEFORE_LINKS]:
        for statement in migration.statements():
            client.command(statement)
    insert(client, "old", SAID, "t1")
    for _ in range(2):  # as when the first attempt stopped half-way
        for statement in migrate.shipped()[BEFORE_LINKS].statements():
            client.command(statement)
    yield client
    client.close()


def insert(client: Client, click_id: str, properties: dict[str, Any], token: str) -> None:
    columns = ["event_id", "click_id", "client_id", "event_time", "received_at", "event_type", "properties"]
    row = (click_id, click_id, 1, NOW, NOW, "click", msgspec.json.encode(properties).decode())
    settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
    client.insert("events", [row], column_names=columns, settings=settings)


def test_columns_say_what_the_link_said_before_and_after_the_upgrade(upgraded: Client) -> None:
    insert(upgraded, "new", SAID, "t2")
    insert(upgraded, "plain", {}, "t3")
    rows = upgraded.query(f"SELECT click_id, {COLUMNS} FROM clicks ORDER BY click_id").result_rows
    told = ("2026-01-01T00:00:00Z", "", "007", "IwAR0aB", "MX", "", True)
    assert rows == [("new", *told), ("old", *told), ("plain", "", "", "", "", "", "", False)]


def test_batch_that_is_sent_again_leaves_one_click(upgraded: Client) -> None:
    for _ in range(2):
        insert(upgraded, "new", SAID, "t2")
    assert upgraded.query("SELECT count() FROM clicks WHERE click_id = 'new'").result_rows == [(1,)]
