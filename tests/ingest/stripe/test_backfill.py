"""The migration that brought payments: what was there before it tells the same story after it, however often it runs."""

from __future__ import annotations

import datetime as dt
from typing import Any

from relo_ingest.clickhouse import migrate
from relo_ingest.clickhouse.client import INSERT_SETTINGS

NOW = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)
PAYMENTS = 6
EVENTS: list[dict[str, Any]] = [
    {"event_id": "evt_1", "event_type": "purchase", "event_name": "purchase", "conversion_key": "pi_1", "revenue": 100,
     "refs": ["cs_1", "pi_1"], "order_id": "cs_1", "properties": {"mode": "payment", "tax": "16"}},
    {"event_id": "evt_2", "event_type": "custom", "event_name": "invoice_payment_linked", "conversion_key": "in_1",
     "refs": ["in_1", "pi_1"]},
    {"event_id": "evt_3", "event_type": "refund", "event_name": "refund", "refs": ["pi_1", "ch_1", "re_1"],
     "properties": {"refund": "re_1", "amount": "12.5", "created": 1, "charge": "ch_1"}},
    {"event_id": "evt_4", "event_type": "custom", "event_name": "subscription_first_invoice", "conversion_key": "in_1",
     "refs": ["in_1"], "properties": {"amount": "100", "subscription": "sub_1"}},
    {"event_id": "evt_5", "event_type": "custom", "event_name": "subscription_created", "order_id": "sub_1",
     "properties": {"status": "active", "started": 1_700_000_000, "amount": "100"}},
]  # fmt: skip
ANSWERS = (
    "SELECT conversion_key, order_id, revenue, refunded, charged_back, tax, subscription FROM conversions",
    "SELECT subscription, is_active, amount, started_at FROM subscriptions",
    "SELECT subscription, started_free FROM subscription_starts FINAL",
)
TRUE = [
    [("in_1", "cs_1", 100, 12.5, 0, 16, "sub_1")],
    [("sub_1", True, 100, dt.datetime(2023, 11, 14, 22, 13, 20))],
    [("sub_1", False)],
]


def test_events_of_before_the_migration_are_taken_in_and_running_it_again_changes_nothing(clickhouse: Any) -> None:
    client = clickhouse.connect(clickhouse.fresh_database())
    always = {"client_id": 1, "event_time": NOW, "received_at": NOW, "media_source": "stripe", "currency": "USD"}
    empty = {"revenue": 0, "refs": [], "properties": {}}
    names = list(dict.fromkeys(name for event in (always, *EVENTS) for name in event))

    def insert() -> None:
        rows = [[(always | event).get(name, empty.get(name, "")) for name in names] for event in EVENTS]
        client.insert("events", rows, column_names=names, settings=INSERT_SETTINGS)

    def answers() -> list[list[Any]]:
        found = [[tuple(r) for r in client.query(sql).result_rows] for sql in ANSWERS]
        return [
            [tuple(v.replace(tzinfo=None) if isinstance(v, dt.datetime) else v for v in r) for r in t] for t in found
        ]

    def run(migration: migrate.Migration) -> None:
        for statement in migration.statements():
            client.command(statement)

    for migration in migrate.shipped()[: PAYMENTS - 1]:
        run(migration)
    insert()
    payments = migrate.shipped()[PAYMENTS - 1]
    run(payments)
    assert answers() == TRUE
    run(payments)
    assert answers() == TRUE
    client.command("INSERT INTO events SELECT * FROM events SETTINGS insert_deduplicate = 0")
    assert answers() == TRUE
    client.close()
