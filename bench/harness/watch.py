"""Something looked at again and again while a block runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench.harness import machine

LOOK_EVERY_S = 0.25


class Watch:
    """``seconds`` since the block began, and what ``look`` gave then."""

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seconds: list[float] = []
        self.values: list[float] = []

    def __enter__(self) -> Watch:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.values.append(self._look())
            self.seconds.append(time.monotonic() - self._started)
            if self._over.wait(LOOK_EVERY_S):
                return


def resident_mb(pid: int) -> Callable[[], float]:
    """Of the largest process of a tree. Mapped segments count (at most one open per lane)."""
    return lambda: machine.largest_rss(pid)[0] / 1e6
