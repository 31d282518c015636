"""Rows as the ingest and the worker write them, for what only reads them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CLIENT_ID = 7
LONG_AGO, FAR = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def insert(client: Client, table: str, *rows: dict[str, Any]) -> None:
    """Twice, in two batches; in another order, since the engine drops a batch of the same bytes."""
    settings = {"date_time_input_format": "best_effort", "max_partitions_per_insert_block": 0}
    for batch in (rows, rows[::-1]):
        lines = b"\n".join(map(msgspec.json.encode, batch))
        client.raw_insert(table, insert_block=lines, fmt="JSONEachRow", settings=settings)


def event(event_id: str, time: dt.datetime, client_id: int = CLIENT_ID, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "client_id": client_id, "event_time": time, "received_at": time, **fields}


def click(click_id: str, partner: str, time: dt.datetime, offer: str = "main", client_id: int = CLIENT_ID, **fields: Any) -> dict[str, Any]:  # fmt: skip
    where = {"partner_ref": partner, "offer": offer, "click_id": click_id}
    return event(click_id, time, client_id, event_type="click", event_name="click", **where, **fields)


def sale(key: str, time: dt.datetime, partner: str, revenue: str, currency: str = "USD", **fields: Any) -> dict[str, Any]:  # fmt: skip
    always = {
        "client_id": CLIENT_ID,
        "order_id": f"order-{key}",
        "offer": "main",
        "method": "click_id",
        "payment": "first",
    }
    told = {"conversion_key": key, "event_time": time, "partner_ref": partner, "attributed_at": LONG_AGO}
    return always | told | {"revenue": revenue, "currency": currency, "reason": {}} | fields


def touch(clicked_at: dt.datetime, click_id: str, partner: str, method: str) -> dict[str, Any]:
    return {"clicked_at": clicked_at, "click_id": click_id, "partner_ref": partner, "offer": "main", "method": method}


def line(entry: str, key: str, partner: str, amount: str, currency: str = "USD", **fields: Any) -> dict[str, Any]:
    always = {
        "client_id": CLIENT_ID,
        "part": "earned",
        "kind": "accrual",
        "rule": "r",
        "hold_until": LONG_AGO,
        "rate": 1,
    }
    told = {"entry_id": entry, "conversion_key": key, "partner_ref": partner, "amount": amount, "currency": currency}
    return always | {"rule_rate": 1, "reason": {}, "created_at": LONG_AGO} | told | fields
