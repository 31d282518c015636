"""Which device an e-mail hash was last seen with: an LRU in this process, Redis behind it.

A cache and nothing more: the truth is the table ``identities``. Redis away, slow or empty changes latency only.
Layout in Redis: hash ``id:email:{email_hash}``, field ``{client_id}``, value the device id; it expires
after ``redis.identity_ttl_days`` without being seen.

Bounds: an address has one device per client, the last, so who sends an address with many devices overwrites one field;
the fields of an address are the active clients that saw it. A device id is kept only if it is short.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict

import redis.asyncio
from redis.exceptions import RedisError

from relo_ingest.settings import Settings

log = logging.getLogger(__name__)

LRU_ENTRIES = 50_000
"""About 10 MB."""
LONGEST_DEVICE_ID = 64
"""What the column keeps: a longer one would not be found there."""
PENDING_WRITES = 10_000
"""Writes that wait for Redis; beyond it the oldest are dropped."""
WRITES_AT_ONCE = 500
"""About a millisecond of the event loop."""
WRITE_EVERY_S, RETRY_EVERY_S = 0.2, 1.0


class Identity:
    def __init__(self, settings: Settings) -> None:
        self._lru: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._pending: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._ttl_s = settings.redis.identity_ttl_days * 86_400
        self._timeout_s = settings.redis.timeout_ms / 1000
        self._redis = (
            redis.asyncio.from_url(
                settings.redis.url, socket_timeout=1.0, socket_connect_timeout=1.0, decode_responses=True
            )
            if settings.redis.url
            else None
        )
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        if self._redis is not None:
            self._task = asyncio.create_task(self._write_behind(), name="identity")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._redis is not None:
            await self._flush()
            await self._redis.aclose()

    def remember(self, client_id: int, email_hash: str, device_id: str) -> None:
        """Note a pair that was just stored; it reaches Redis a moment later."""
        if len(device_id) > LONGEST_DEVICE_ID:
            return
        key = (client_id, email_hash)
        self._keep(key, device_id)
        if self._redis is not None:
            self._pending[key] = device_id
            if len(self._pending) > PENDING_WRITES:
                self._pending.popitem(last=False)

    async def device_of(self, client_id: int, email_hash: str) -> str:
        """The device, or "" when it is not known in time (``redis.timeout_ms``)."""
        key = (client_id, email_hash)
        known = self._lru.get(key)
        if known is not None:
            self._lru.move_to_end(key)
            return known
        if self._redis is None:
            return ""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._redis.hget(f"id:email:{email_hash}", str(client_id))
        except (RedisError, TimeoutError, OSError):
            return ""
        if found is None:
            return ""
        device_id = str(found)
        self._keep(key, device_id)
        return device_id

    def _keep(self, key: tuple[int, str], device_id: str) -> None:
        self._lru[key] = device_id
        self._lru.move_to_end(key)
        if len(self._lru) > LRU_ENTRIES:
            self._lru.popitem(last=False)

    async def _write_behind(self) -> None:
        while True:
            await asyncio.sleep(RETRY_EVERY_S if self._failing else WRITE_EVERY_S)
            await self._flush()

    async def _flush(self) -> None:
        """Write what waits. What does not reach Redis waits on; what Redis refuses is dropped."""
        while self._pending and self._redis is not None:
            batch = list(itertools.islice(self._pending.items(), WRITES_AT_ONCE))
            pipeline = self._redis.pipeline(transaction=False)
            for (client_id, email_hash), device_id in batch:
                pipeline.hset(f"id:email:{email_hash}", str(client_id), device_id)
                pipeline.expire(f"id:email:{email_hash}", self._ttl_s)
            try:
                answers = await pipeline.execute(raise_on_error=False)
            except (RedisError, TimeoutError, OSError) as error:
                if not self._failing:
                    log.warning("identity cache: Redis does not answer, pairs wait: %s", type(error).__name__)
                self._failing = True
                return
            if self._failing:
                log.info("identity cache: Redis answers again")
            self._failing = False
            refused = [a for a in answers if isinstance(a, Exception)]
            if refused:
                log.warning("identity cache: Redis refused %d writes: %s", len(refused), type(refused[0]).__name__)
            for key, device_id in batch:
                if self._pending.get(key) == device_id:  # else it was seen with another device meanwhile
                    del self._pending[key]
