"""ClickHouse's HTTP interface as an ASGI application, and the process around it (`serve`).

What of that interface is not here, because chDB does not offer it:
- `compress=1` / `decompress=1` (ClickHouse's own block compression): 501. HTTP codings work both ways.
- `client_protocol_version`: chDB's Native is that of revision 0, without block info and without time zones in
  type names. The clickhouse-connect probe (54405) sees this and goes on without; newer revisions are answered 501.
- progress headers during a query: the head of a response can be sent once. They are accepted and ignored.
- `query_id` is echoed, but system.processes shows chDB's own; `KILL QUERY WHERE query_id = …` needs that one.
- users, roles and quotas: there is one user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .compression import Encoder, choose_encoding, encoder
from .engine import Connection, Engine
from .errors import AddressInUse, QueryError
from .query import Query
from .request import ClientGone, Receive, Request
from .sessions import Sessions
from .spool import Spool

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_QUERIES = 32  # at once, each in a thread of its own; the engine's threads are the machine's cores in any case
_BUFFER = 4 << 20  # bytes of a result held back: a smaller one has a length, a full summary and a status that is right
_STEP = 1 << 20  # bytes per piece of a streamed result
_DRAIN = 64 << 20  # bytes of a body read and dropped after an error, so that the client reads the answer
_LINGER = 0.1  # seconds: granian drops what it has not written yet when a response is broken off
_GRACE, _AFTER_KILL = 4.0, 1.5  # seconds for running queries to finish at SIGTERM, and to end once cancelled

_CONTENT_TYPES = {
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8",
    "json": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "parquet": "application/octet-stream",
    "arrow": "application/octet-stream",
}


def _content_type(name: str) -> str:
    lowered = name.lower()
    matching = (kind for prefix, kind in _CONTENT_TYPES.items() if lowered.startswith(prefix))
    return _CONTENT_TYPES.get(lowered) or next(matching, "text/plain; charset=UTF-8")


class App:
    """The ASGI application. Everything but the engine's calls happens on the event loop."""

    def __init__(self, engine: Engine, user: str, password: str) -> None:
        self.engine = engine
        self.pool = ThreadPoolExecutor(MAX_QUERIES, "query")
        self._control = ThreadPoolExecutor(1, "control")  # a full pool must not keep a query from being cancelled
        self.sessions = Sessions(engine.connect, self.pool)
        self._credentials = (user, password)
        self._running = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        request = Request.of(scope)
        headers: Headers = [(b"x-clickhouse-server-display-name", self.engine.display_name.encode())]
        plain = request.path in ("/ping", "/replicas_status") or (
            request.path in ("", "/") and request.method in ("GET", "HEAD") and "query" not in request.params
        )
        if plain:
            return await self._answer(request, send, 200, headers, b"Ok.\n")
        if request.path not in ("", "/", "/query"):
            text = f"There is no handle {request.path}\n\nUse / or /ping for health checks, /?query= for queries.\n"
            return await self._answer(request, send, 404, headers, text.encode())
        query_id = request.params.get("query_id") or request.headers.get("x-clickhouse-query-id") or str(uuid.uuid4())
        if query_id.isprintable() and query_id.isascii():
            headers.append((b"x-clickhouse-query-id", query_id.encode()))
        headers.append((b"x-clickhouse-timezone", self.engine.timezone.encode()))
        spool = Spool(self.engine.spool_dir)
        try:
            await self._query(request, receive, send, headers, spool)
        except ClientGone:
            pass
        except QueryError as error:
            await self._refuse(request, receive, send, headers, error)
        except OSError as error:
            problem = QueryError(243, "NOT_ENOUGH_SPACE", f"Cannot keep the request body: {error}")
            await self._refuse(request, receive, send, headers, problem)
        finally:
            spool.close()

    async def _query(self, request: Request, receive: Receive, send: Send, headers: Headers, spool: Spool) -> None:
        request.authenticate(*self._credentials)
        request.interpret()
        session_id = request.params.get("session_id")
        timeout = self.sessions.timeout(request.params.get("session_timeout"))
        await request.read_body(receive, spool)
        if self._running >= MAX_QUERIES:
            text = f"Too many simultaneous queries. Maximum: {MAX_QUERIES}"
            raise QueryError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", text)
        connection: Connection
        if session_id:
            connection = self.sessions.acquire(session_id, must_exist=request.flag("session_check"))
        else:
            connection = self.engine.connect()
        self._running += 1
        try:
            query = Query(
                connection,
                request.text,
                request.insert,
                spool,
                request.settings,
                request.query_params,
                request.database,
                request.default_format,
                bool(session_id),
                request.externals,
            )
            await self._run(request, query, receive, send, headers)
        finally:
            self._running -= 1
            if session_id:
                self.sessions.release(session_id, timeout, close=request.flag("close_session"))
            else:
                self.pool.submit(connection.close)

    async def _run(self, request: Request, query: Query, receive: Receive, send: Send, headers: Headers) -> None:
        began = time.perf_counter_ns()
        query.inspect()
        loop = asyncio.get_running_loop()
        gone = loop.create_task(_disconnected(receive)) if query.cancellable else None
        result = Spool(self.engine.spool_dir)
        wait = request.flag("wait_end_of_query")

        def first() -> list[bytes]:
            query.start()
            pieces = query.read(_BUFFER)
            while wait and not query.done:
                for piece in pieces:
                    result.add(piece)
                result.spill()
                pieces = query.read(_BUFFER)
            return pieces

        try:
            pieces = await self._in_pool(query, gone, first)
            summary = {**query.summary, "elapsed_ns": time.perf_counter_ns() - began}
            headers.append((b"x-clickhouse-summary", json.dumps({k: str(v) for k, v in summary.items()}).encode()))
            if query.cancellable:
                headers.append((b"x-clickhouse-format", query.format.encode()))
            headers.append((b"content-type", _content_type(query.format).encode()))
            encoding = self._response_encoding(request)
            compressed = encoder(encoding) if encoding else None
            if encoding:
                headers.append((b"content-encoding", encoding.encode()))
            if query.done and not result.size and sum(map(len, pieces)) <= _BUFFER:
                body = b"".join(pieces) if compressed is None else _compress(compressed, pieces)
                await self._answer(request, send, 200, headers, body)
            else:
                body_parts = (part for source in (result.read(), pieces) for whole in source for part in _cut(whole))
                await self._stream(query, gone, send, headers, body_parts, compressed)
        finally:
            result.close()
            if gone is not None:
                gone.cancel()
            if not query.done:
                await loop.run_in_executor(self.pool, query.cancel)

    async def _stream(
        self,
        query: Query,
        gone: asyncio.Task[None] | None,
        send: Send,
        headers: Headers,
        parts: Iterable[bytes],
        compressed: Encoder | None,
    ) -> None:
        tag = secrets.token_hex(8)
        headers.append((b"x-clickhouse-exception-tag", tag.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def write(data: bytes) -> None:
            data = data if compressed is None else compressed.compress(data)
            if gone is not None and gone.done():
                raise ClientGone
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        for part in parts:
            await write(part)
        try:
            while not query.done:
                for part in await self._in_pool(query, gone, lambda: query.read(_STEP)):
                    await write(part)
        except QueryError as error:
            # The status is sent: ClickHouse marks the error in the body and breaks the connection off.
            text = error.render(self.engine.version).encode()
            mark = f"{len(text) + 1} {tag}\r\n__exception__\r\n".encode()
            await write(b"\r\n__exception__\r\n" + tag.encode() + b"\r\n" + text + b"\n" + mark)
            if compressed is not None and (tail := compressed.flush()):
                await send({"type": "http.response.body", "body": tail, "more_body": True})
            await asyncio.sleep(_LINGER)
            raise
        tail = compressed.flush() if compressed is not None else b""
        await send({"type": "http.response.body", "body": tail, "more_body": False})

    async def _in_pool(
        self, query: Query, gone: asyncio.Task[None] | None, work: Callable[[], list[bytes]]
    ) -> list[bytes]:
        """Run a blocking step; when the client goes away meanwhile, cancel the query and raise ClientGone."""
        step = asyncio.get_running_loop().run_in_executor(self.pool, work)
        if gone is None:
            return await step
        await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
        while gone.done() and not step.done():
            # Again if need be: a query that has not begun yet cannot be found to be cancelled. Awaited, so that
            # it does not hit the next query of a session.
            await asyncio.get_running_loop().run_in_executor(self._control, self.engine.kill, query.connection.marker)
            await asyncio.wait((step,), timeout=0.2)
        if gone.done():
            with contextlib.suppress(QueryError):
                step.result()
            raise ClientGone
        return step.result()

    def _response_encoding(self, request: Request) -> str | None:
        asked = request.headers.get("accept-encoding", "")
        return choose_encoding(asked) if asked and request.flag("enable_http_compression") else None

    async def _answer(self, request: Request, send: Send, status: int, headers: Headers, body: bytes) -> None:
        if not any(name == b"content-type" for name, _ in headers):
            headers.append((b"content-type", b"text/plain; charset=UTF-8"))
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})

    async def _refuse(
        self, request: Request, receive: Receive, send: Send, headers: Headers, error: QueryError
    ) -> None:
        if any(name == b"x-clickhouse-exception-tag" for name, _ in headers):
            raise error  # in mid-stream: granian breaks the connection off
        left = 0 if request.complete else _DRAIN
        while left > 0:  # the body was not read to its end
            message = await receive()
            left -= len(message.get("body") or b"")
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        skip = (b"content-encoding", b"content-type")
        kept = [header for header in headers if header[0] not in skip]
        kept.append((b"x-clickhouse-exception-code", str(error.code).encode()))
        text = error.render(self.engine.version) + "\n"
        await self._answer(request, send, error.status, kept, text.encode(errors="replace"))

    def close(self) -> None:
        """Cancel what still runs, wait for the threads, close every connection, then the engine."""
        if self._running:
            self.engine.kill()
        self.pool.shutdown(wait=True)
        self._control.shutdown(wait=True)
        self.sessions.close()
        self.engine.close()

    async def drain(self) -> None:
        """Wait for running queries, cancel them after `_GRACE` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GRACE
        while self._running and loop.time() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.02)
        if self._running:
            await loop.run_in_executor(self._control, self.engine.kill)


def _compress(stream: Encoder, pieces: Iterable[bytes]) -> bytes:
    return b"".join([*map(stream.compress, pieces), stream.flush()])


def _cut(whole: bytes) -> Iterable[bytes]:
    return (whole[at : at + _STEP] for at in range(0, len(whole), _STEP))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _claim(host: str, port: int) -> None:
    # granian listens with SO_REUSEPORT: it would share the port with another server in silence.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise AddressInUse(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it or choose another port"
        ) from None


async def _serve(app: App, host: str, port: int) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server: Any = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        backlog=256,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = loop.create_task(server.serve())
    stopping = loop.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        serving.result()
        raise AddressInUse(f"the HTTP server on {host}:{port} ended by itself; see the log")
    server.signal_handler_interrupt()  # stops accepting, then waits for the answers under way
    await app.drain()
    await asyncio.wait((serving,), timeout=_AFTER_KILL)  # a client that never reads its answer is not waited for


def serve(
    data_dir: Path, *, host: str = "127.0.0.1", port: int = 8123, user: str = "default", password: str = ""
) -> int:
    """Serve the engine over `data_dir` until SIGTERM or SIGINT; 0 after a clean close.

    Raises DataDirectoryInUse, DataDirectoryUnusable, EngineMissing, AddressInUse with a line for the user.
    Must run in the main thread, and nothing may fork after it began.
    """
    import uvloop

    _claim(host, port)
    app = App(Engine(data_dir), user, password)
    try:
        uvloop.run(_serve(app, host, port))
    finally:
        app.close()
    return 0
