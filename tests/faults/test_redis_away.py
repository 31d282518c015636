"""Redis is a cache: away, hanging, slow, emptied or restarted, webhooks are answered and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from relo_ingest._fast import digest, ulid
from support.load import Load, Request, beacon, payment, send_at_once
from support.processes import Server, eventually
from support.proxy import Fault, Proxy
from support.soak import scaled
from support.stack import Stack

BUYERS = [f"{ulid.new()}@example.com" for _ in range(500)]
TIMEOUT_MS = 200


@pytest.fixture
def network(redis_server: Any) -> Iterator[Proxy]:
    """Between the ingests and Redis."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


def purchase() -> Request:
    return payment(customer_details={"email": random.choice(BUYERS)})


def identify() -> Request:
    return beacon(event="identify", email_hash=digest.email_hash(random.choice(BUYERS)))


def found_by_email(stack: Stack, seen_by: Server, paid_at: Server, cache: redis.Redis) -> None:
    """A device that one instance saw is found by another, which can only know it from Redis."""
    email, device_id = f"{ulid.new()}@example.com", ulid.new()
    email_hash = digest.email_hash(email)
    seen = beacon(event="identify", did=device_id, email_hash=email_hash)
    assert send_at_once([seen_by.base_url], seen, 1, stack.ledger) == {204: 1}
    eventually(lambda: cache.hget(f"id:email:{email_hash}", "1"), "the pair is in Redis")

    def pay() -> bool:
        """A new webhook each time: a first one may meet a connection that broke in the fault before."""
        paid = payment(customer_details={"email": email})
        assert send_at_once([paid_at.base_url], paid, 1, stack.ledger) == {200: 1}
        with stack.connected() as client:
            found = "SELECT device_id FROM events WHERE event_id = {id:String}"
            rows = eventually(lambda: client.query(found, parameters={"id": paid.keys[0]}).result_rows, "stored")
        return bool(rows[0][0] == device_id)

    eventually(pay, "the payment has the buyer's device")


def test_webhooks_are_answered_whatever_redis_does(stack: Stack, network: Proxy, redis_server: Any) -> None:
    values = {"RELO_REDIS_URL": f"redis://127.0.0.1:{network.port}/0", "RELO_REDIS_TIMEOUT_MS": TIMEOUT_MS}
    first, second = stack.start_ingest(**values), stack.start_ingest(**values)
    with (
        redis.Redis.from_url(redis_server.url, decode_responses=True) as cache,
        Load([first.base_url, second.base_url], stack.ledger, {purchase: 1, identify: 1}) as load,
    ):
        found_by_email(stack, first, second, cache)
        for _ in range(scaled(1, 6)):
            network.refuse()
            load.go_on(100)
            network.accept()
            found_by_email(stack, first, second, cache)

            network.set(Fault.HOLD_REQUEST)
            load.go_on(100)
            network.set(Fault.NONE)
            found_by_email(stack, second, first, cache)

            network.delay_s = 1.0
            load.go_on(100)
            network.delay_s = 0.0
            cache.flushall()
            load.go_on(100)
            found_by_email(stack, first, second, cache)

            redis_server.stop()
            load.go_on(100)
            redis_server.start()
            found_by_email(stack, second, first, cache)
    assert set(load.statuses) == {200, 204}, "every webhook and beacon was accepted"
    stack.verify()
    assert (first.stop(), second.stop()) == (0, 0)
