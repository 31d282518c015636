"""The ingest's ASGI application without a server, in this process: thousands of requests a second."""

from __future__ import annotations

import asyncio
from typing import Any

from relo_ingest.ingest import app as app_module
from relo_ingest.settings import Settings

Headers = list[tuple[bytes, bytes]]


class InProcess:
    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._app = app_module.App(settings)
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._lifespan = self._loop.create_task(
            self._app({"type": "lifespan"}, self._to_app.get, self._from_app.put), name="lifespan"
        )
        assert self._tell("lifespan.startup") == "lifespan.startup.complete"

    def _tell(self, what: str) -> str:
        async def tell() -> str:
            await self._to_app.put({"type": what})
            return str((await self._from_app.get())["type"])

        return self._loop.run_until_complete(tell())

    def request(
        self, method: str, path: str, query: bytes = b"", headers: Headers | None = None, body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query, "headers": headers or [],
            "client": ("203.0.113.7", 1), "server": ("127.0.0.1", 4080),
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        self._loop.run_until_complete(self._app(scope, receive, send))
        assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"], "exactly one answer"
        return sent[0]["status"], sent[1].get("body", b"")

    def close(self) -> None:
        """Segments stay on disk when ClickHouse is away."""
        assert self._tell("lifespan.shutdown") == "lifespan.shutdown.complete"
        self._loop.run_until_complete(self._lifespan)
        self._loop.close()
