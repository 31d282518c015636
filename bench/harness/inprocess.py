"""The application without its server: the ASGI callable, called with a recorded request.

What granian gives an application is recorded here as it gives it: a fresh scope with the headers as byte pairs,
``receive`` with the whole body in one message, ``send``. Time is the CPU time of the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench.harness.requests import HEADERS
from bench.harness.servers import UNLIMITED, free_port

Message = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]

BETWEEN_TICKS = 64
"""Requests between two turns of the event loop: as with 64 connections that all have one waiting."""


def scope(path: str, body: bytes) -> Message:
    """A POST of ``body``."""
    headers = [(k.encode(), v.encode()) for k, v in HEADERS] + [(b"content-length", b"%d" % len(body))]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("127.0.0.1", 4080),
        "client": ("127.0.0.1", 50_000),
        "state": {},
    }


class Driver:
    """One event loop, and applications that live on it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def cpu_s(self, app: Application, requests: Sequence[tuple[Message, bytes]]) -> float:
        """CPU seconds per request. RuntimeError when one was not answered 2xx."""
        return self._runner.run(self._drive(app, requests)) / len(requests)

    async def _drive(self, app: Application, requests: Sequence[tuple[Message, bytes]]) -> float:
        refused: list[Message] = []

        async def send(message: Message) -> None:
            if message.get("status", 200) >= 300 or refused:
                refused.append(message)

        spent = 0.0
        for first in range(0, len(requests), BETWEEN_TICKS):
            started = time.thread_time()
            for template, body in requests[first : first + BETWEEN_TICKS]:
                message = {"type": "http.request", "body": body, "more_body": False}

                async def receive(message: Message = message) -> Message:
                    return message

                await app(template.copy(), receive, send)
            await asyncio.sleep(0)
            spent += time.thread_time() - started
        if refused:
            raise RuntimeError(f"not every request was taken; the first refusal: {refused[:2]}")
        return spent

    @contextlib.contextmanager
    def alive(self, app: Application) -> Iterator[Application]:
        """The application between its lifespan's start-up and its shutdown."""
        to_app: asyncio.Queue[Message] = asyncio.Queue()
        from_app: asyncio.Queue[Message] = asyncio.Queue()

        async def start() -> asyncio.Task[None]:
            lifespan = {"type": "lifespan", "asgi": {"version": "3.0"}}
            task = asyncio.ensure_future(app(lifespan, to_app.get, from_app.put))
            await to_app.put({"type": "lifespan.startup"})
            message = await from_app.get()
            if message["type"] != "lifespan.startup.complete":
                raise RuntimeError(f"the application did not start: {message}")
            return task  # type: ignore[return-value]

        async def stop(task: asyncio.Task[None]) -> None:
            await to_app.put({"type": "lifespan.shutdown"})
            await task

        running = self._runner.run(start())
        try:
            yield app
        finally:
            self._runner.run(stop(running))
            self._runner.close()


@contextlib.contextmanager
def product() -> Iterator[Application]:
    """The real App on a real spool in a temporary directory, with one client registered; ClickHouse is away.

    So its segments stay on disk, and what is measured is taking beacons in, not sending them on.
    """
    with tempfile.TemporaryDirectory(prefix="relo-bench-", ignore_cleanup_errors=True) as data_dir:
        metrics = Path(data_dir, "metrics")
        metrics.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)  # as the server does, before the import

        from cryptography.fernet import Fernet

        from relo_ingest.ingest.app import App
        from relo_ingest.registry.refresh import COPY_FILE, Copy
        from relo_ingest.settings import ClickHouse, Quotas, Settings

        client = msgspec.json.encode({"client_id": 1, "slug": "demo", "status": "active"}).decode()
        Path(data_dir, COPY_FILE).write_bytes(msgspec.json.encode(Copy(1, [("client", "demo", client)])))
        yield App(
            Settings(
                data_dir=data_dir,
                secret_key=Fernet.generate_key().decode(),
                quotas=Quotas(beacons_per_s=UNLIMITED, burst=UNLIMITED),
                clickhouse=ClickHouse(embedded_port=free_port()),
            )
        )
