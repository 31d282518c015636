"""The closed set of what can happen to one request.

A request ends in exactly one outcome. The HTTP status and the metric's label follow from it;
nothing else may become a label.
"""

from __future__ import annotations

import msgspec

from relo_ingest.errors import PROBLEMS, Problem


class Outcome(msgspec.Struct, frozen=True):
    """``index`` is its place in OUTCOMES, and in the counters."""

    index: int
    name: str
    status: int


OUTCOMES: list[Outcome] = []


def _outcome(name: str, status: int) -> Outcome:
    outcome = Outcome(len(OUTCOMES), name, status)
    OUTCOMES.append(outcome)
    return outcome


BEACON_STORED = _outcome("beacon_stored", 204)
BEACON_PARTLY_STORED = _outcome("beacon_partly_stored", 200)
PIXEL_IMAGE_SERVED = _outcome("pixel_image_served", 200)
CLICK_STORED = _outcome("click_stored", 302)
LANDING_CLICK_STORED = _outcome("landing_click_stored", 204)
LINK_SHOWN = _outcome("link_shown", 302)
LINK_FALLBACK = _outcome("link_fallback", 302)
PAYMENT_STORED = _outcome("payment_stored", 200)
PAYMENT_IGNORED = _outcome("payment_ignored", 200)
PAYMENT_UNSUPPORTED = _outcome("payment_unsupported", 200)
PREFLIGHT_ANSWERED = _outcome("preflight_answered", 204)
CONTENT_SERVED = _outcome("content_served", 200)
CONTENT_UNCHANGED = _outcome("content_unchanged", 304)
HEALTH_ANSWERED = _outcome("health_answered", 200)
HEALTH_UNREADY = _outcome("health_unready", 503)

REFUSED: dict[Problem, Outcome] = {p: _outcome(p.code, p.status) for p in PROBLEMS}
"""Each problem is an outcome of the same name."""
