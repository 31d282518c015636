"""What a user would write first: FastAPI + pydantic, and one insert per request with clickhouse-connect's async client.

Inserts are asynchronous on ClickHouse's side, as its documentation recommends for many small ones
(https://clickhouse.com/docs/optimize/asynchronous-inserts), and waited for, or the 204 would promise nothing.
``python -m bench.peers.fastapi_clickhouse PORT CLICKHOUSE_PORT``; the table is its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import clickhouse_connect
from fastapi import FastAPI, Request

from bench.peers.fastapi_pydantic import Beacon

COLUMNS = ("event_id", "client_id", "event", "received_at", "did", "cid", "url", "referrer", "title", "lang", "screen",
           "user_agent")  # fmt: skip
TABLE = """
CREATE TABLE IF NOT EXISTS peer_beacons
(
    event_id String, client_id UInt32, event LowCardinality(String), received_at DateTime64(3, 'UTC'), did String,
    cid String, url String, referrer String, title String, lang LowCardinality(String), screen LowCardinality(String),
    user_agent String
)
ENGINE = MergeTree ORDER BY (client_id, received_at)
"""
SETTINGS = {"async_insert": 1, "wait_for_async_insert": 1}
PORT_VARIABLE = "BENCH_CLICKHOUSE_PORT"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=int(os.environ[PORT_VARIABLE]), autogenerate_session_id=False, compress=False
    )
    await client.command(TABLE)
    app.state.clickhouse = client
    yield
    await client.close()


app = FastAPI(openapi_url=None, lifespan=lifespan)


@app.post("/e", status_code=204)
async def post_beacon(beacon: Beacon, request: Request) -> None:
    row = (
        beacon.event_id, beacon.client_id, beacon.event, datetime.now(UTC), beacon.did, beacon.cid, beacon.url,
        beacon.referrer, beacon.title, beacon.lang, beacon.screen, request.headers.get("user-agent", ""),
    )  # fmt: skip
    await request.app.state.clickhouse.insert("peer_beacons", [row], column_names=COLUMNS, settings=SETTINGS)


if __name__ == "__main__":
    from bench.peers.on_uvicorn import serve

    os.environ[PORT_VARIABLE] = sys.argv[2]
    serve("bench.peers.fastapi_clickhouse:app", int(sys.argv[1]))
