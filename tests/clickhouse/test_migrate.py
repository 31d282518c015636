"""Migrations: in order, once, completed when they stopped half-way; and what the tables they make promise."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from relo_ingest.clickhouse import migrate
from relo_ingest.clickhouse.client import INSERT_SETTINGS
from relo_ingest.clickhouse.migrate import SCHEMA_VERSION, Migration, SchemaConflict
from relo_ingest.events import COLUMNS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOW = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)
DOCUMENTED = {
    "events": """event_id client_id event_time received_at event_type event_name channel media_source is_test device_id
        click_id partner_ref offer order_id conversion_key revenue currency email_hash customer_ref promo_code url
        referrer title user_agent ip lang screen properties""",
    "attributions": "client_id conversion_key order_id partner_ref offer click_id method reason attributed_at",
    "ledger": """entry_id client_id conversion_key partner_ref kind amount currency rule hold_until created_at
        reason""",
    "conversions": """client_id conversion_key order_id kind event_time revenue refunded currency is_test click_id
        promo_code device_id customer_ref email_hash""",
}
"""DESIGN §6, word for word."""
MONEY = {
    "attributions.revenue",
    "attributions.refunded",
    "events.revenue",
    "conversions.revenue",
    "conversions.refunded",
    "ledger.amount",
}

SCHEMA = """
SELECT name, replaceAll(create_table_query, currentDatabase() || '.', '') FROM system.tables
WHERE database = currentDatabase() AND name != 'schema_migrations' AND name NOT LIKE '.inner%' ORDER BY name
"""
COUNTS = """
SELECT (SELECT count() FROM events), (SELECT count() FROM clicks), (SELECT count() FROM device_clicks),
       (SELECT count() FROM identities), (SELECT count() FROM payment_refs), (SELECT count() FROM conversion_reports),
       (SELECT count() FROM traffic_daily_states)
"""


@pytest.fixture
def empty(clickhouse: Any) -> Iterator[Client]:
    """A client of an empty database."""
    client = clickhouse.connect(clickhouse.fresh_database())
    yield client
    client.close()


@pytest.fixture(scope="module")
def current(clickhouse: Any) -> Iterator[Client]:
    """A client of a database at our schema that several tests share."""
    client = clickhouse.connect(clickhouse.fresh_database())
    migrate.apply(client)
    yield client
    client.close()


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(r) for r in client.query(sql).result_rows]


def insert(client: Client, *events: dict[str, Any], token: str = "") -> None:
    always = {"client_id": 1, "event_time": NOW, "received_at": NOW}
    settings = INSERT_SETTINGS | ({"insert_deduplication_token": token} if token else {})
    names = list(dict.fromkeys(name for event in (always, *events) for name in event))
    client.insert(
        "events",
        [[(always | event)[name] for name in names] for event in events],
        column_names=names,
        settings=settings,
    )


def test_everything_is_applied_in_order_and_recorded(empty: Client) -> None:
    assert [m.number for m in migrate.apply(empty)] == list(range(1, SCHEMA_VERSION + 1))
    recorded = rows(empty, "SELECT number, name, checksum FROM schema_migrations ORDER BY applied_at, number")
    assert recorded == [(m.number, m.name, m.checksum) for m in migrate.shipped()]


def test_second_run_does_nothing(empty: Client) -> None:
    migrate.apply(empty)
    before = rows(empty, "SELECT * FROM schema_migrations ORDER BY number"), rows(empty, SCHEMA)
    assert migrate.pending(empty) == []
    assert migrate.apply(empty) == []
    assert (rows(empty, "SELECT * FROM schema_migrations ORDER BY number"), rows(empty, SCHEMA)) == before


def test_asking_what_is_pending_writes_nothing(empty: Client) -> None:
    assert migrate.pending(empty) == list(migrate.shipped())
    assert rows(empty, "SHOW TABLES") == []


def test_changed_migration_is_refused_before_anything_is_done(empty: Client) -> None:
    migrate.apply(empty)
    empty.command("DELETE FROM schema_migrations WHERE number = 4")
    empty.command(
        "ALTER TABLE schema_migrations UPDATE checksum = 'other' WHERE number = 2 SETTINGS mutations_sync = 2"
    )
    for run in (migrate.pending, migrate.apply):
        with pytest.raises(SchemaConflict, match="migration 0002_fan_out was applied with other contents"):
            run(empty)
    assert rows(empty, "SELECT count() FROM schema_migrations") == [(SCHEMA_VERSION - 1,)]


STATEMENTS = [(m, s) for m in migrate.shipped() for s in m.statements()]


def stopped_after(client: Client, done: int) -> int:
    """As a run that was ended after so many statements leaves it; how many migrations it recorded."""
    client.command(migrate.CREATE_RECORD)
    recorded = 0
    for (migration, statement), (following, _) in zip(STATEMENTS[:done], [*STATEMENTS[1:], (None, "")], strict=False):
        client.command(statement)
        if following is not migration:
            row = (migration.number, migration.name, migration.checksum)
            client.insert("schema_migrations", [row], column_names=["number", "name", "checksum"])
            recorded += 1
    return recorded


ENDS = [n for n, (m, _) in enumerate(STATEMENTS, 1) if n == len(STATEMENTS) or STATEMENTS[n][0] is not m]


@pytest.mark.parametrize("done", sorted({1, *ENDS, *(n - 1 for n in ENDS)}))
def test_run_that_stopped_anywhere_is_completed_by_another(empty: Client, current: Client, done: int) -> None:
    recorded = stopped_after(empty, done)
    assert [m.number for m in migrate.apply(empty)] == list(range(recorded + 1, SCHEMA_VERSION + 1))
    assert rows(empty, SCHEMA) == rows(current, SCHEMA)


@pytest.mark.parametrize("migration", migrate.shipped(), ids=lambda m: m.name)
def test_migration_may_run_twice_before_it_is_recorded(
    empty: Client, current: Client, migration: migrate.Migration
) -> None:
    done = sum(m.number <= migration.number for m, _ in STATEMENTS)
    stopped_after(empty, done)
    empty.command(
        "DELETE FROM schema_migrations WHERE number = {number:UInt32}", parameters={"number": migration.number}
    )
    assert [m.number for m in migrate.apply(empty)] == list(range(migration.number, SCHEMA_VERSION + 1))
    assert rows(empty, SCHEMA) == rows(current, SCHEMA)


def test_newer_schema_than_ours_is_left_alone(empty: Client) -> None:
    migrate.apply(empty)
    empty.insert("schema_migrations", [(SCHEMA_VERSION + 1, "x", "y")], column_names=["number", "name", "checksum"])
    assert migrate.apply(empty) == []


def test_comments_and_semicolons_inside_a_line_do_not_split_statements() -> None:
    sql = "-- one; two;\nSELECT ';', 1; \n  -- three\n\nSELECT 2\n  + 1;\nSELECT 4"
    assert list(Migration(1, "x", sql).statements()) == ["SELECT ';', 1", "SELECT 2\n  + 1", "SELECT 4"]


@pytest.mark.parametrize("table", DOCUMENTED)
def test_documented_columns_are_there_in_order(current: Client, table: str) -> None:
    documented = DOCUMENTED[table].split()
    described = rows(current, f"DESCRIBE TABLE {table}")
    assert [r[0] for r in described if r[0] in documented] == documented
    assert {f"{table}.{r[0]}" for r in described if r[1] == "Decimal(18, 4)"} == {
        m for m in MONEY if m.startswith(f"{table}.")
    }


def test_columns_of_events_are_written_in_the_order_of_the_table(current: Client) -> None:
    assert [r[0] for r in rows(current, "DESCRIBE TABLE events")] == [c.name for c in COLUMNS]


def test_whatever_takes_an_insert_of_events_forgets_retries_and_reaches_the_disk(current: Client) -> None:
    created = dict(
        rows(current, "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
    )
    views = [sql for sql in created.values() if sql.startswith("CREATE MATERIALIZED VIEW")]
    targets = {re.search(r" TO (?:\w+\.)?(\w+) ", sql)[1] for sql in views}  # type: ignore[index]
    assert len(targets) >= 6
    # A batch that is sent again tells its changes again: the first time, the worker may have come too early.
    assert "non_replicated_deduplication_window = 0" in created["changes"]
    for table in ({"events", "registry"} | targets) - {"changes"}:
        assert re.search(r"non_replicated_deduplication_window = [1-9]\d+", created[table]), table
    for table, sql in created.items():
        if sql.startswith("CREATE TABLE"):
            assert "fsync_after_insert = 1" in sql, table
            assert "fsync_part_directory = 1" in sql, table


SALE: dict[str, Any] = {
    "event_id": "evt_1",
    "event_type": "purchase",
    "event_name": "purchase",
    "media_source": "stripe",
    "device_id": "dev",
    "click_id": "click",
    "conversion_key": "pi_1",
    "refs": ["pi_1", "cs_1"],
    "revenue": 20,
    "currency": "USD",
    "email_hash": "e" * 64,
}
CLICK = SALE | {"event_id": "click", "event_type": "click", "conversion_key": "", "revenue": 0, "media_source": "x"}


def test_batch_that_is_sent_again_vanishes_from_the_table_and_all_views(empty: Client) -> None:
    migrate.apply(empty)
    insert(empty, CLICK, SALE, token="segment-1")
    before = rows(empty, COUNTS)
    assert 0 not in before[0]
    insert(empty, CLICK, SALE, token="segment-1")
    assert rows(empty, COUNTS) == before


def test_event_that_comes_again_in_another_batch_changes_no_answer(empty: Client) -> None:
    migrate.apply(empty)
    answers: Callable[[], list[Any]] = lambda: [  # noqa: E731
        rows(empty, f"SELECT * FROM {view} ORDER BY ALL") for view in ("conversions", "traffic_daily", "revenue_daily")
    ]
    insert(empty, CLICK, SALE, token="segment-1")
    before = answers()
    insert(empty, SALE, token="segment-2")
    insert(empty, CLICK, SALE | {"received_at": NOW + dt.timedelta(hours=1)}, token="segment-3")
    assert answers() == before
    assert rows(empty, "SELECT count() FROM events FINAL") == [(2,)]


def test_query_of_the_integration_guide_works_as_written(empty: Client) -> None:
    migrate.apply(empty)
    sales = [
        SALE | {"event_id": f"evt_{n:02}", "event_time": NOW + dt.timedelta(minutes=n), "order_id": f"cs_{n}"}
        for n in range(12)
    ]
    insert(empty, *sales, CLICK | {"order_id": ""})
    found = rows(
        empty,
        """
        SELECT event_id, event_name, event_type, revenue, order_id FROM events
        WHERE media_source = 'stripe' ORDER BY event_time DESC LIMIT 10;
        """,
    )
    assert found == [(f"evt_{n:02}", "purchase", "purchase", 20, f"cs_{n}") for n in range(11, 1, -1)]


def test_text_in_properties_comes_back_as_it_came(empty: Client) -> None:
    migrate.apply(empty)
    told = {
        "when": "2025-06-01T12:00:00.123Z",
        "day": "2025-01-01",
        "number": "0123",
        "yes": "true",
        "nested": {"a": "1"},
    }
    insert(empty, SALE | {"properties": told})
    assert rows(empty, "SELECT properties FROM events") == [(told,)]
