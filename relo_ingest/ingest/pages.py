"""Pages for people: the demo shop, and the pixel's test of itself."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from relo_ingest.ingest.http import NO_STORE, Headers, Receive, Scope, Send
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import CONTENT_SERVED, Outcome

FILES = resources.files("relo_ingest.pixel")
DEMO = (FILES / "demo.html").read_bytes()
PIXEL_TEST = (FILES / "test.html").read_bytes()
HTML: Headers = [(b"content-type", b"text/html; charset=utf-8"), (b"x-content-type-options", b"nosniff"), NO_STORE]


def _inline(tag: bytes) -> bytes:
    """The CSP source of the one element of that name in the test page: its hash, so that nothing else runs."""
    found = re.search(b"<%s>(.*?)</%s>" % (tag, tag), PIXEL_TEST, re.DOTALL)
    assert found is not None
    return b"'sha256-%s'" % base64.b64encode(hashlib.sha256(found[1]).digest())


PIXEL_TEST_HEADERS: Headers = [
    *HTML,
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self' %s; style-src %s; connect-src 'self'; img-src 'self'; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'" % (_inline(b"script"), _inline(b"style")),
    ),
    (b"referrer-policy", b"same-origin"),
]


async def get_demo(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The landing page of the shipped offer, with the pixel installed as the guide says."""
    return await _serve(scope, send, HTML, DEMO)


async def get_pixel_test(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The guide's verification steps, done by the page itself. ``client_id`` of its query is read there, not here."""
    return await _serve(scope, send, PIXEL_TEST_HEADERS, PIXEL_TEST)


async def _serve(scope: Scope, send: Send, headers: Headers, page: bytes) -> Outcome:
    body = b"" if scope["method"] == "HEAD" else page
    length = (b"content-length", b"%d" % len(page))
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
    return CONTENT_SERVED
