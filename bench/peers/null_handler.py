"""The floor: an ASGI application that reads the body and answers 204. Everything above it is ours.

``app`` reads it as ASGI's specification says, until there is no more; ``told`` stops, as ours does, once it has as much
as Content-Length says, which on granian saves a turn between two threads. So both floors are shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

START: dict[str, Any] = {"type": "http.response.start", "status": 204, "headers": []}
END: dict[str, Any] = {"type": "http.response.body", "body": b""}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(END)


async def told(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    left = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
    while True:
        message = await receive()
        left -= len(message.get("body", b""))
        if left <= 0 or not message.get("more_body"):
            break
    await send(START)
    await send(END)
