"""The identity cache against a real Redis: what it keeps, for how long, and that nobody can fill it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from relo_ingest import identity
from relo_ingest._fast import digest, ulid
from relo_ingest.identity import Identity
from relo_ingest.settings import Redis, Settings

ANN = digest.email_hash("ann@example.com")


@pytest.fixture
def settings(redis_server: Any, settings_for: Callable[..., Settings]) -> Settings:
    redis_settings = Redis(url=redis_server.url, timeout_ms=1000, identity_ttl_days=7)
    return msgspec.structs.replace(settings_for(), redis=redis_settings)


def remembered(settings: Settings, *pairs: tuple[int, str, str]) -> Identity:
    """A cache that was told these pairs and has written them."""
    cache = Identity(settings)

    async def tell() -> None:
        cache.start()
        for pair in pairs:
            cache.remember(*pair)
        await cache.stop()

    asyncio.run(tell())
    return cache


def device_elsewhere(settings: Settings, client_id: int, email_hash: str) -> str:
    """What another process knows, which has only Redis to ask."""

    async def ask() -> str:
        cache = Identity(settings)
        try:
            return await cache.device_of(client_id, email_hash)
        finally:
            await cache.stop()

    return asyncio.run(ask())


def test_pair_is_forgotten_after_the_days_of_the_setting(settings: Settings, redis_server: Any) -> None:
    remembered(settings, (1, ANN, ulid.new()))
    with redis.Redis.from_url(redis_server.url) as client:
        assert 6 * 86_400 < client.ttl(f"id:email:{ANN}") <= 7 * 86_400


def test_last_device_of_an_address_is_found_by_another_process_and_only_for_the_same_client(settings: Settings) -> None:
    first, last = ulid.new(), ulid.new()
    remembered(settings, (1, ANN, first), (1, ANN, last))
    assert device_elsewhere(settings, 1, ANN) == last
    assert device_elsewhere(settings, 2, ANN) == ""


def test_address_with_many_devices_takes_one_field(settings: Settings, redis_server: Any) -> None:
    devices = [ulid.new() for _ in range(1_000)]
    remembered(settings, *((1, ANN, device) for device in devices))
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        assert client.hgetall(f"id:email:{ANN}") == {"1": devices[-1]}


def test_device_id_that_no_column_keeps_is_not_kept_here_either(settings: Settings, redis_server: Any) -> None:
    cache = remembered(settings, (1, ANN, "x" * 65))
    assert asyncio.run(known_here(cache)) == ""
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0


async def known_here(cache: Identity) -> str:
    cache._redis = None
    return await cache.device_of(1, ANN)


def test_memory_is_bounded_whoever_sends_addresses(
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "LRU_ENTRIES", 50)
    monkeypatch.setattr(identity, "PENDING_WRITES", 20)
    cache = Identity(msgspec.structs.replace(settings_for(), redis=Redis(url="redis://127.0.0.1:1/0")))
    hashes = [digest.email_hash(f"{n}@example.com") for n in range(200)]
    for email_hash in hashes:
        cache.remember(1, email_hash, "device")
    assert len(cache._lru) == 50
    assert list(cache._pending) == [(1, h) for h in hashes[-20:]]
