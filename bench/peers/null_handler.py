"""The floor: an ASGI application that reads the body and answers 204. Everything above it is ours."""

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
