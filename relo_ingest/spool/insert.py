"""One insert: the rows of a segment, or a range of them, with a token that follows from what they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import lz4.frame

from relo_ingest._fast.segment import Segment
from relo_ingest.clickhouse.client import INSERT_SETTINGS, connect_async
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


class Inserter:
    """Sends rows to ``events``; connects when it first needs to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._compress = urlsplit(settings.clickhouse_dsn).hostname not in LOCAL_HOSTS

    async def insert(self, segment: Segment, first: int = 0, last: int | None = None) -> None:
        """Rows ``first`` up to, without, ``last``; all by default. Returns when ClickHouse has them.

        The same range always has the same bytes and token, so sending it again after a lost answer is dropped there.
        Raises clickhouse-connect's errors, OSError, and TimeoutError after ``clickhouse.timeout_s``.
        """
        whole = first == 0 and last in (None, segment.rows)
        token = segment.segment_id if whole else f"{segment.segment_id}:{first}-{last}"
        body: Any = segment.body() if last is None else segment.body_range(first, last)
        try:
            # One bound around everything: a server that hangs is as bad as one that refuses.
            async with asyncio.timeout(self._settings.clickhouse.timeout_s):
                if self._client is None:
                    self._client = await connect_async(self._settings)
                await self._send(segment.columns.split(","), body, token)
        finally:
            body.release()

    async def insert_row(self, columns: str, row: bytes, token: str) -> None:
        """One row that is in no segment any more: from the quarantine."""
        if self._client is None:
            self._client = await connect_async(self._settings)
        await self._send(columns.split(","), row, token)

    async def _send(self, columns: list[str], body: Any, token: str) -> None:
        assert self._client is not None
        encoding = None
        if self._compress:
            body = await asyncio.to_thread(lz4.frame.compress, body)
            encoding = "lz4"
        await self._client.raw_insert(
            "events",
            columns,
            body,  # aiohttp sends a memoryview without copying it; the client's types do not say so
            settings=INSERT_SETTINGS | {"insert_deduplication_token": token},
            fmt="RowBinary",
            compression=encoding,
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
