"""Group commit: one fdatasync answers for every row that was written before it began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class GroupCommit:
    """Calls ``sync`` in a thread, once for all that wait; those who come during a call share the next."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def committed(self) -> None:
        """Return when everything written before this call is on disk. Raises OSError when the disk failed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if self._task is None:
            self._task = loop.create_task(self._run())
        await future

    async def finished(self) -> None:
        """Return when no call is under way: only then may the file be closed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: OSError | None = None
            try:
                await loop.run_in_executor(None, self._sync)
            except OSError as failed:
                error = failed
            for future in batch:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        self._task = None
