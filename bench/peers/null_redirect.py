"""The floor of a link: a redirect with a Location and a cookie as long as ours, always the same.

``python -m bench.peers.null_redirect PORT``
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 302,
    "headers": [
        (b"location", b"http://127.0.0.1:4080/demo?click_id=01JD4Z5G7QH8M3N2P1R0S9T8V7"),
        (b"set-cookie", b"_relo_cid=01JD4Z5G7QH8M3N2P1R0S9T8V7; Path=/; Max-Age=5184000; SameSite=Lax"),
        (b"cache-control", b"no-store"),
    ],
}
END: dict[str, Any] = {"type": "http.response.body", "body": b""}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "http":
        await send(START)
        await send(END)


if __name__ == "__main__":
    from bench.peers.on_granian import serve

    serve("bench.peers.null_redirect:app", int(sys.argv[1]))
