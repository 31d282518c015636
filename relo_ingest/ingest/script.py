"""``/r.js``: the pixel's script, as setup.py minified and compressed it."""

from __future__ import annotations

import gzip
import hashlib
import re
from importlib import resources

from relo_ingest.ingest.http import CORS, Headers, Receive, Scope, Send, header
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import CONTENT_SERVED, CONTENT_UNCHANGED, Outcome

_WEIGHT = re.compile(rb"0(\.\d{0,3})?|1(\.0{0,3})?")
FILES = resources.files("relo_ingest.pixel")
SCRIPT = (FILES / "r.min.js").read_bytes()
ETAG = hashlib.sha256(SCRIPT).hexdigest()[:20].encode()
HEADERS: Headers = [
    CORS,
    (b"content-type", b"text/javascript; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    # An hour, so that a new version is everywhere the same day; a browser that asks again is answered 304.
    (b"cache-control", b"public, max-age=3600, stale-while-revalidate=86400"),
    (b"vary", b"accept-encoding"),
]
BODIES: dict[bytes, bytes] = {
    b"br": (FILES / "r.min.js.br").read_bytes(),
    b"gzip": gzip.compress(SCRIPT, 9, mtime=0),
    b"": SCRIPT,
}
"""By content coding, the best first. Each has an ETag of its own, as RFC 9110 §8.8.3 wants of different bytes."""
ANSWERS = {
    coding: [
        *HEADERS,
        (b"etag", b'"%s%s"' % (ETAG, coding and b"-" + coding)),
        *([(b"content-encoding", coding)] if coding else []),
    ]
    for coding in BODIES
}


async def get_script(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    coding = _coding(header(scope, b"accept-encoding"))
    if ETAG in header(scope, b"if-none-match"):  # one of our ETags, whatever a proxy made of the coding
        await send({"type": "http.response.start", "status": 304, "headers": ANSWERS[coding]})
        await send({"type": "http.response.body", "body": b""})
        return CONTENT_UNCHANGED
    body = BODIES[coding]
    headers = [*ANSWERS[coding], (b"content-length", b"%d" % len(body))]
    if scope["method"] == "HEAD":
        body = b""
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return CONTENT_SERVED


def _coding(accepted: bytes) -> bytes:
    """That of ``BODIES`` which an Accept-Encoding header wants most, of equals the best (RFC 9110 §12.5.3)."""
    weights: dict[bytes, float] = {}
    for part in accepted.lower().split(b","):
        name, *parameters = (text.strip() for text in part.split(b";"))
        weights[name or b"identity"] = min(map(_weight, parameters), default=1.0)
    others = weights.get(b"*", 0.0)
    taken = {coding: weights.get(coding or b"identity", others if coding else 0.0) for coding in BODIES}
    best = max(taken, key=taken.__getitem__)
    return best if taken[best] else b""


def _weight(parameter: bytes) -> float:
    """Of ``q=0.5``; 1 for a parameter of another name, 0 for a weight that is none."""
    name, _, value = parameter.partition(b"=")
    if name.strip() != b"q":
        return 1.0
    found = _WEIGHT.fullmatch(value.strip())
    return float(found[0]) if found else 0.0
