"""How long a fault test runs: seconds in ``make test``, minutes in ``make soak`` (RELO_SOAK=1)."""

from __future__ import annotations

import os

SOAK = os.environ.get("RELO_SOAK") == "1"


def scaled(short: int, soak: int) -> int:
    """A number of rounds, events or seconds."""
    return soak if SOAK else short
