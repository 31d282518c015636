"""Whose device is this e-mail's? From the process's own memory, from Redis, and from Redis many at once.

Why: every webhook with an e-mail asks, and has 5 ms (``redis.timeout_ms``) before the question is left to the worker.
How: `identity.Identity` with a real redis-server on the core of the load: a pair it remembers itself; pairs that only
Redis knows, asked one after the other and 64 at a time, as 64 webhooks at once would; and 64 through one pipeline of
redis-py, as a yardstick for what could be gained. Blocks in turn, wall-clock, in a fresh process on the server's core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import redis.asyncio

from bench.harness import machine, micro, servers
from bench.harness.duel import Duel
from bench.harness.report import Answer
from relo_ingest._fast import digest, ulid
from relo_ingest.identity import Identity
from relo_ingest.settings import Redis, Settings

PAIRS = 1_024
AT_ONCE = 64
CALLS = 20_000
PATIENCE_MS = 1_000
"""Instead of 5: a lookup that gives up would look fast."""


def answers(full: bool) -> Iterator[Answer]:
    with servers.directory() as where:
        port = where.redis().port
        ns = machine.in_fresh_process(machine.SERVER, measure, port, 60 if full else 15)
    one, many, pipeline = "Redis, one by one", f"Redis, {AT_ONCE} at a time", f"Redis, a pipeline of {AT_ONCE}"
    yield micro.faster(ns, "own memory", one, "identity from the process's memory, against Redis")
    yield micro.faster(ns, many, one, f"identity from Redis, {AT_ONCE} at a time, against one by one")
    yield micro.faster(ns, many, pipeline, f"identity from Redis, {AT_ONCE} at a time, against one pipeline")


def measure(port: int, rounds: int) -> micro.Nanoseconds:
    """Nanoseconds per lookup."""
    settings = Settings(redis=Redis(url=f"redis://127.0.0.1:{port}/0", timeout_ms=PATIENCE_MS))
    pairs = {digest.email_hash(f"{i}@example.com"): ulid.new() for i in range(PAIRS)}
    hashes = list(pairs)
    with asyncio.Runner() as runner:
        client = redis.asyncio.Redis(port=port, decode_responses=True)

        async def fill() -> None:
            writer = Identity(settings)
            writer.start()
            for email_hash, device_id in pairs.items():
                writer.remember(1, email_hash, device_id)
            await writer.stop()

        async def own_memory(identity: Identity) -> int:
            known = hashes[0]
            await identity.device_of(1, known)
            for _ in range(CALLS):
                await identity.device_of(1, known)
            return CALLS

        async def one_by_one(identity: Identity) -> int:
            found = [await identity.device_of(1, email_hash) for email_hash in hashes]
            assert found == list(pairs.values())
            return PAIRS

        async def at_once(identity: Identity) -> int:
            for first in range(0, PAIRS, AT_ONCE):
                wanted = hashes[first : first + AT_ONCE]
                found = await asyncio.gather(*(identity.device_of(1, email_hash) for email_hash in wanted))
                assert found == [pairs[email_hash] for email_hash in wanted]
            return PAIRS

        async def pipeline(identity: Identity) -> int:
            for first in range(0, PAIRS, AT_ONCE):
                wanted = hashes[first : first + AT_ONCE]
                asked = client.pipeline(transaction=False)
                for email_hash in wanted:
                    asked.hget(f"id:email:{email_hash}", "1")
                assert await asked.execute() == [pairs[email_hash] for email_hash in wanted]
            return PAIRS

        runner.run(fill())
        duel = Duel(
            {
                "own memory": partial(_block, runner, settings, own_memory),
                "Redis, one by one": partial(_block, runner, settings, one_by_one),
                f"Redis, {AT_ONCE} at a time": partial(_block, runner, settings, at_once),
                f"Redis, a pipeline of {AT_ONCE}": partial(_block, runner, settings, pipeline),
            }
        )
        duel.fight([], rounds)
        runner.run(client.aclose())
    return {name: duel.figures(name, "ns") for name in duel.runs}


def _block(runner: asyncio.Runner, settings: Settings, look_up: Callable[[Identity], Awaitable[int]]) -> micro.Block:
    """With an Identity whose own memory is empty."""

    async def timed() -> float:
        identity = Identity(settings)
        await identity.device_of(1, "0" * 64)  # connects
        started = time.perf_counter_ns()
        count = await look_up(identity)
        elapsed = time.perf_counter_ns() - started
        await identity.stop()
        return elapsed / count

    return micro.Block(runner.run(timed()))
