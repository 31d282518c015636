"""``/r.js`` and ``/e``: the pixel's script and its beacons."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl

from relo_ingest.errors import (
    BODY_TOO_LARGE,
    MALFORMED_JSON,
    NOT_READY,
    TOO_MANY_EVENTS,
    UNKNOWN_CLIENT,
    UNSUPPORTED_MEDIA_TYPE,
    RequestRefused,
)
from relo_ingest.ingest import beacon
from relo_ingest.ingest.beacon import Beacon, Extras
from relo_ingest.ingest.http import (
    CORS,
    NO_STORE,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    problem_content,
    read_body,
    respond,
    respond_json,
    text_header,
    truncated_ip,
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
NO_CONTENT: dict[str, Any] = {"type": "http.response.start", "status": 204, "headers": [CORS]}
EMPTY_BODY: dict[str, Any] = {"type": "http.response.body", "body": b""}


async def post_beacon(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """One beacon or an array of up to 500. 204; 200 with the refusals when only a part was taken."""
    media_type = header(scope, b"content-type").partition(b";")[0].strip().lower()
    if media_type not in (b"", b"application/json", b"text/plain"):
        raise RequestRefused(UNSUPPORTED_MEDIA_TYPE)
    body = await read_body(scope, receive, MAX_BODY, services.settings.ingest.body_timeout_s)
    start = body.lstrip()[:1]
    if start != b"[":
        if len(body) > MAX_SINGLE:
            raise RequestRefused(BODY_TOO_LARGE, "A single event takes at most 64 KiB.")
        if not start:
            raise RequestRefused(MALFORMED_JSON, "It is empty.")
        _store(services, scope, [beacon.decode(body)])
        await send(NO_CONTENT)
        await send(EMPTY_BODY)
        return BEACON_STORED
    return await _post_array(services, scope, send, body)


async def _post_array(services: Services, scope: Scope, send: Send, body: bytes) -> Outcome:
    elements = beacon.decode_array(body)
    if len(elements) > MAX_EVENTS:
        raise RequestRefused(TOO_MANY_EVENTS)
    good: list[tuple[Beacon, Extras]] = []
    refused: list[tuple[int, RequestRefused]] = []
    for index, element in enumerate(elements):
        if isinstance(element, RequestRefused):
            refused.append((index, element))
            continue
        try:
            _store(services, scope, [element])
            good.append(element)
        except RequestRefused as error:
            refused.append((index, error))
    if not refused:
        await send(NO_CONTENT)
        await send(EMPTY_BODY)
        return BEACON_STORED
    if not good:
        raise refused[0][1]
    report = [{"index": i, "error": problem_content(e.problem, e.detail)} for i, e in refused]
    await respond_json(send, 200, {"stored": len(good), "refused": report}, [CORS])
    return BEACON_PARTLY_STORED


async def get_beacon(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """A beacon in the query, answered with a 1×1 GIF: for pages that can only load an image."""
    pairs = parse_qsl(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True, max_num_fields=100)
    _store(services, scope, [beacon.from_query(pairs)])
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


def _store(services: Services, scope: Scope, decoded: list[tuple[Beacon, Extras]]) -> None:
    """Check, encode and commit. Raises RequestRefused; what comes before the refused one stays stored."""
    snapshot = services.registry.snapshot
    if not snapshot.version:
        raise RequestRefused(NOT_READY)
    received_at = time.time_ns() // 1_000_000
    ip = truncated_ip(scope, services.settings.ingest.forwarded_hops)
    user_agent = text_header(scope, b"user-agent")
    for found, extras in decoded:
        if found.client_id not in snapshot.clients:
            raise RequestRefused(UNKNOWN_CLIENT)
        event = beacon.to_event(found, extras, received_at, ip, user_agent)
        services.quota.take(found.client_id, 1)
        services.spool.append(event)
        services.counts.events += 1
        if event.email_hash and event.device_id:
            services.identity.remember(event.client_id, event.email_hash, event.device_id)
