"""Requests under way: a cap on how many, and a deadline for their bodies.

The server underneath has neither: it queues requests without end and waits for a body for ever. A timer per request
would cost more than decoding a beacon, so one sweep, a few times a second, looks at those that wait for their body.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import current_task
from typing import Any

from relo_ingest.errors import BODY_TOO_LARGE, BODY_TOO_SLOW, CLIENT_DISCONNECTED, RequestRefused
from relo_ingest.ingest.http import Message, Receive

EXPIRED = -1.0
NOT_TOLD = -1
"""The length of a body whose sender did not say it."""


class InFlight:
    """``running`` is the number of requests under way; whoever answers them counts it up and down.

    Made on the event loop it serves.
    """

    def __init__(self, body_timeout_s: float) -> None:
        self.running = 0
        self._loop = asyncio.get_running_loop()
        self._timeout_s = body_timeout_s
        self._now = time.monotonic()
        self._waiting: dict[asyncio.Task[Any], float] = {}

    async def read_body(self, receive: Receive, limit: int, content_length: bytes = b"") -> bytes:
        """The whole body. ``content_length`` is the header: a body that has it is whole, without another ``receive``.

        The server underneath ends each body with an empty message, and bringing it costs two turns between its threads.

        Raises RequestRefused: BODY_TOO_LARGE beyond ``limit`` bytes, BODY_TOO_SLOW when it is not complete in time,
        CLIENT_DISCONNECTED when the sender went away.
        """
        task: Any = current_task(self._loop)
        waiting = self._waiting
        waiting[task] = self._now
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message["type"] != "http.request" or (message.get("more_body") and b"%d" % len(body) != content_length):
                return await _read_chunks(message, receive, limit, content_length)
        except asyncio.CancelledError:
            if waiting[task] != EXPIRED:
                raise
            task.uncancel()
            raise RequestRefused(BODY_TOO_SLOW) from None
        finally:
            del waiting[task]
        if len(body) > limit:
            raise RequestRefused(BODY_TOO_LARGE)
        return body

    def sweep(self, now: float) -> None:
        """End the waiting of those whose time is over at ``now`` (monotonic seconds)."""
        self._now = now
        waiting = self._waiting
        late = [task for task, since in waiting.items() if EXPIRED < since < now - self._timeout_s]
        for task in late:
            waiting[task] = EXPIRED
            task.cancel()


async def _read_chunks(message: Message, receive: Receive, limit: int, content_length: bytes) -> bytes:
    length = int(content_length) if content_length.isdigit() else NOT_TOLD
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise RequestRefused(CLIENT_DISCONNECTED)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RequestRefused(BODY_TOO_LARGE)
        chunks.append(chunk)
        if size == length or not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()
