"""A token bucket per client: one runaway site must not take the others' place."""

from __future__ import annotations

from relo_ingest.errors import OVER_QUOTA, RequestRefused
from relo_ingest.settings import Quotas


class Quota:
    """Buckets start full, and are filled by ``refill`` on a tick rather than by looking at the clock for each event."""

    def __init__(self, quotas: Quotas) -> None:
        self._rate = float(quotas.beacons_per_s)
        self._burst = float(quotas.burst)
        self._tokens: dict[int, float] = {}
        """Of clients whose bucket is not full."""

    def take(self, client_id: int) -> None:
        """Take a token of the client. Raises RequestRefused(OVER_QUOTA) when there is none.

        Only ids of known clients may come here, or a hostile sender could fill the memory.
        """
        tokens = self._tokens.get(client_id, self._burst)
        if tokens < 1.0:
            raise RequestRefused(OVER_QUOTA)
        self._tokens[client_id] = tokens - 1.0

    def refill(self, elapsed_s: float) -> None:
        """Add what ``elapsed_s`` seconds are worth to every bucket."""
        gained = elapsed_s * self._rate
        full = self._burst - gained
        self._tokens = {client: tokens + gained for client, tokens in self._tokens.items() if tokens < full}
