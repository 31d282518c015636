"""A token bucket per client: one runaway site must not take the others' place."""

from __future__ import annotations

import time
from collections.abc import Callable

from relo_ingest.errors import OVER_QUOTA, RequestRefused
from relo_ingest.settings import Quotas


class Quota:
    def __init__(self, quotas: Quotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = float(quotas.beacons_per_s)
        self._burst = float(quotas.burst)
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}

    def take(self, client_id: int, events: int) -> None:
        """Take ``events`` tokens of the client, or none: then raises RequestRefused(OVER_QUOTA).

        Only ids of known clients may come here, or a hostile sender could fill the memory.
        """
        now = self._clock()
        tokens, then = self._buckets.get(client_id, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        if tokens < events:
            self._buckets[client_id] = (tokens, now)
            raise RequestRefused(OVER_QUOTA)
        self._buckets[client_id] = (tokens - events, now)
