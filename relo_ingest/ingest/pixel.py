"""``/r.js`` and ``/e``: the pixel's script and its beacons."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from importlib import resources
from typing import Any

from relo_ingest._fast.headers import Picker
from relo_ingest.errors import (
    BODY_TOO_LARGE,
    NOT_READY,
    TOO_MANY_EVENTS,
    UNKNOWN_CLIENT,
    UNSUPPORTED_MEDIA_TYPE,
    RequestRefused,
)
from relo_ingest.ingest import beacon, bots
from relo_ingest.ingest.beacon import Beacon, Extras, Sender
from relo_ingest.ingest.http import (
    CORS,
    NO_STORE,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    problem_content,
    query_pairs,
    respond,
    respond_json,
)
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import (
    BEACON_PARTLY_STORED,
    BEACON_STORED,
    CONTENT_SERVED,
    CONTENT_UNCHANGED,
    PIXEL_IMAGE_SERVED,
    Outcome,
)

MAX_BODY = 1 << 20
MAX_SINGLE = 64 << 10
MAX_EVENTS = 500

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

SCRIPT = (resources.files("relo_ingest.pixel") / "r.js").read_bytes()
SCRIPT_GZIP = gzip.compress(SCRIPT, 9, mtime=0)
SCRIPT_ETAG = b'"%s"' % hashlib.sha256(SCRIPT).hexdigest()[:20].encode()
SCRIPT_HEADERS: Headers = [
    CORS,
    (b"content-type", b"text/javascript; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"public, max-age=3600, stale-while-revalidate=86400"),
    (b"etag", SCRIPT_ETAG),
    (b"vary", b"accept-encoding"),
]
PICK = Picker(b"content-type", b"content-length", b"user-agent", b"x-forwarded-for", *bots.PURPOSE_HEADERS).pick
USUAL_TYPES = frozenset(
    (b"text/plain;charset=UTF-8", b"application/json", b"text/plain", b"text/plain;charset=utf-8", b"")
)
NO_CONTENT: dict[str, Any] = {"type": "http.response.start", "status": 204, "headers": [CORS]}
EMPTY_BODY: dict[str, Any] = {"type": "http.response.body", "body": b""}


async def post_beacon(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """One beacon or an array of up to 500. 204; 200 with the refusals when only a part was taken."""
    content_type, content_length, user_agent, forwarded_for, *purposes = PICK(scope["headers"])
    if content_type not in USUAL_TYPES:
        _check_type(content_type)
    if len(content_length) > 6 and int(content_length) > MAX_BODY:
        raise RequestRefused(BODY_TOO_LARGE)
    body = await services.in_flight.read_body(receive, MAX_BODY)
    sender = _sender(services, scope, user_agent, forwarded_for, purposes)
    if body[:1] != b"{" and body.lstrip()[:1] == b"[":
        return await _post_array(services, sender, send, body)
    if len(body) > MAX_SINGLE:
        raise RequestRefused(BODY_TOO_LARGE, "A single event takes at most 64 KiB.")
    found, extras = beacon.decode(body)
    _store(services, sender, found, extras)
    await send(NO_CONTENT)
    await send(EMPTY_BODY)
    return BEACON_STORED


async def _post_array(services: Services, sender: Sender, send: Send, body: bytes) -> Outcome:
    elements = beacon.decode_array(body)
    if len(elements) > MAX_EVENTS:
        raise RequestRefused(TOO_MANY_EVENTS)
    refused: list[tuple[int, RequestRefused]] = []
    for index, element in enumerate(elements):
        try:
            if isinstance(element, RequestRefused):
                raise element
            _store(services, sender, *element)
        except RequestRefused as refusal:
            refused.append((index, refusal))
    if not refused:
        await send(NO_CONTENT)
        await send(EMPTY_BODY)
        return BEACON_STORED
    if len(refused) == len(elements):
        raise refused[0][1]
    report = [{"index": i, "error": problem_content(r.problem, r.detail)} for i, r in refused]
    await respond_json(send, 200, {"stored": len(elements) - len(refused), "refused": report}, [CORS])
    return BEACON_PARTLY_STORED


async def get_beacon(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """A beacon in the query, answered with a 1×1 GIF: for pages that can only load an image."""
    _, _, user_agent, forwarded_for, *purposes = PICK(scope["headers"])
    found, extras = beacon.from_query(query_pairs(scope))
    _store(services, _sender(services, scope, user_agent, forwarded_for, purposes), found, extras)
    await respond(send, 200, [CORS, NO_STORE, (b"content-type", b"image/gif")], GIF)
    return PIXEL_IMAGE_SERVED


async def get_script(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    if header(scope, b"if-none-match") == SCRIPT_ETAG:
        await send({"type": "http.response.start", "status": 304, "headers": SCRIPT_HEADERS})
        await send(EMPTY_BODY)
        return CONTENT_UNCHANGED
    headers, body = SCRIPT_HEADERS, SCRIPT
    if b"gzip" in header(scope, b"accept-encoding"):
        headers, body = [*SCRIPT_HEADERS, (b"content-encoding", b"gzip")], SCRIPT_GZIP
    await respond(send, 200, headers, b"" if scope["method"] == "HEAD" else body)
    return CONTENT_SERVED


def _check_type(content_type: bytes) -> None:
    if content_type.partition(b";")[0].strip().lower() not in (b"", b"application/json", b"text/plain"):
        raise RequestRefused(UNSUPPORTED_MEDIA_TYPE)


def _sender(services: Services, scope: Scope, user_agent: bytes, forwarded_for: bytes, purposes: list[bytes]) -> Sender:
    visitors = services.visitors
    agent, bot_reason = visitors.agent(user_agent)
    if not bot_reason and any(purposes):
        bot_reason = bots.by_purpose(purposes)
    return Sender(time.time_ns() // 1_000_000, visitors.network(scope, forwarded_for), agent, bot_reason)


def _store(services: Services, sender: Sender, found: Beacon, extras: Extras) -> None:
    """Check, encode and commit one event. Raises RequestRefused, and then nothing is stored."""
    snapshot = services.registry.snapshot
    client_id = found.client_id
    if client_id not in snapshot.clients:
        raise RequestRefused(UNKNOWN_CLIENT if snapshot.version else NOT_READY)
    event = beacon.to_event(found, extras, sender, services.redactor)
    services.quota.take(client_id)
    services.spool.append(event)
    services.counts.events += 1
    if event.email_hash and event.device_id:
        services.identity.remember(client_id, event.email_hash, event.device_id)
