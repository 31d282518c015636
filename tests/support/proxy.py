"""A network that misbehaves on demand: a TCP proxy on loopback, in a thread of its own.

It sits between a process of ours and a server, and knows just enough of request and answer to break the one or the
other: what a client sends after an answer begins a request, what a server sends after that begins its answer.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import Coroutine
from typing import Any

from support.processes import free_port

CHUNK = 1 << 20
BUFFER = 1 << 24
"""A request that is held is taken in whole, so that it can still be carried out when its sender has gone."""
GONE_UNNOTICED_S = 1.0


class Fault(enum.Enum):
    """``HOLD_REQUEST``: the server does not see it. ``HOLD_REPLY``: the server has answered, the client waits.
    ``DROP_REPLY``: the server has answered, the client's connection breaks. What is held goes on its way afterwards.
    """

    NONE = "none"
    HOLD_REQUEST = "hold request"
    HOLD_REPLY = "hold reply"
    DROP_REPLY = "drop reply"


class _Link:
    """One connection; ``request`` is how its current request begins."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.request = b""
        self.answered = True

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """``caught`` counts the requests or replies that met the fault set last."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        """Pause before each piece that a client sends."""
        self.caught = 0
        self._target_port = target_port
        self._fault, self._text = Fault.NONE, b""
        self._links: set[_Link] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._released = asyncio.Event()
        self.accept()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.set(Fault.NONE)
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault, text: bytes = b"") -> None:
        """From now on ``fault`` meets the requests that have ``text`` in their beginning; what was held goes on."""
        self._run(self._set(fault, text))

    def refuse(self) -> None:
        """Break every connection, and listen no more."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Listen, on the port of before."""
        self._run(self._accept())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(self, fault: Fault, text: bytes) -> None:
        self._released.set()
        self._released = asyncio.Event()
        self._fault, self._text, self.caught = fault, text, 0

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for link in list(self._links):
            link.abort()
        while self._links:
            await asyncio.sleep(0.01)

    async def _accept(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=BUFFER)

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            from_server, server = await asyncio.open_connection("127.0.0.1", self._target_port, limit=BUFFER)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._requests(link, from_client)),
            asyncio.create_task(self._replies(link, from_server)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            link.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._links.discard(link)

    async def _requests(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if link.answered:
                link.request, link.answered = chunk[:4096], False
            if self._meets(Fault.HOLD_REQUEST, link):
                await self._released.wait()
            link.server.write(chunk)
            await link.server.drain()
        # The client has gone, perhaps while its request was held: the server does not know it, and works on it.
        await asyncio.sleep(GONE_UNNOTICED_S)

    async def _replies(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK):
            link.answered = True
            if self._meets(Fault.DROP_REPLY, link):
                return
            if self._meets(Fault.HOLD_REPLY, link):
                await self._released.wait()
            link.client.write(chunk)
            await link.client.drain()

    def _meets(self, fault: Fault, link: _Link) -> bool:
        if self._fault is not fault or self._text not in link.request:
            return False
        self.caught += 1
        return True
