"""The cookies of a link: the click, for the pixel; and when this device last used this link.

``_relo_cid`` is the latest click, whatever it was on: the name and form that r.js reads where links and site share a
domain. ``_relo_at.{ref}.{offer}`` is the click that counted last on one partner's link to one offer: of several offers
behind one domain, each has its own. Its time is read from the ULID, so the server keeps no state, and who changes the
value marks nothing but a click of his own.
"""

from __future__ import annotations

from relo_ingest._fast import ulid
from relo_ingest.registry.landing import Landing

CLICK_COOKIE = b"_relo_cid="


class ClickCookies:
    """``domain``: of the click cookie; "" for the host that answered."""

    def __init__(self, domain: str) -> None:
        shared = b"; Path=/; SameSite=Lax"
        of_domain = shared + (f"; Domain={domain}".encode() if domain else b"")
        self._click_ends = (of_domain, of_domain + b"; Secure")
        self._link_ends = (shared + b"; HttpOnly", shared + b"; HttpOnly; Secure")

    def of_click(self, landing: Landing, click_id: bytes, secure: bool) -> bytes:
        return b"".join((CLICK_COOKIE, click_id, landing.cookie_life, self._click_ends[secure]))

    def of_link(self, landing: Landing, click_id: bytes, secure: bool) -> bytes:
        return b"".join((landing.dedup_cookie, click_id, landing.dedup_life, self._link_ends[secure]))


def cookie(header: bytes, name: bytes) -> str:
    """The value of the cookie ``name=``, "" without one; the first wins, as browsers send the most specific first."""
    if name in header:
        for pair in header.split(b";"):
            found = pair.strip()
            if found.startswith(name):
                return found[len(name) :].decode("latin-1")
    return ""


def is_repeat(previous: str, clicked_at: int, within_ms: int) -> bool:
    """Whether the click ``previous`` was so shortly before. False for what is no ULID, or of a time to come."""
    return ulid.is_valid(previous) and 0 <= clicked_at - ulid.timestamp_ms(previous) < within_ms
