"""Links that lead nowhere: an unknown ref or code, a paused partner. The visitor is led on all the same, where that is
configured; otherwise a person gets a page to read, and a program the error."""

from __future__ import annotations

from importlib import resources

from relo_ingest.errors import NOT_READY, UNKNOWN_REF, RequestRefused
from relo_ingest.ingest.http import NO_STORE, Scope, Send, header, respond
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import LINK_FALLBACK, REFUSED, Outcome

PAGE = (resources.files("relo_ingest.pixel") / "no_such_link.html").read_bytes()


async def answer(services: Services, scope: Scope, send: Send, query: dict[str, str]) -> Outcome:
    """302 to the fallback page of the offer that was asked for, else of another of the partner's, else the platform's;
    404 without any. Nothing is recorded: there is no partner to record it for."""
    snapshot = services.registry.snapshot
    if not snapshot.version:
        raise RequestRefused(NOT_READY)
    pages = snapshot.fallbacks.get(query.get("ref", ""), {})
    page = pages.get(query.get("offer", "")) or next(iter(pages.values()), "") or services.settings.ingest.fallback_page
    if page:
        await respond(send, 302, [(b"location", page.encode()), NO_STORE])
        return LINK_FALLBACK
    if b"text/html" not in header(scope, b"accept"):
        raise RequestRefused(UNKNOWN_REF)
    body = b"" if scope["method"] == "HEAD" else PAGE
    await respond(send, UNKNOWN_REF.status, [(b"content-type", b"text/html; charset=utf-8"), NO_STORE], body)
    return REFUSED[UNKNOWN_REF]
