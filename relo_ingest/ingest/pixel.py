"""``/e``: the pixel's beacons."""

from __future__ import annotations

import base64
from time import time_ns
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
from relo_ingest.ingest import beacon, pixel_cookies, signals
from relo_ingest.ingest.beacon import Beacon, Extras
from relo_ingest.ingest.http import (
    CORS,
    NO_STORE,
    Receive,
    Scope,
    Send,
    problem_content,
    query_pairs,
    respond,
    respond_json,
)
from relo_ingest.ingest.services import Services
from relo_ingest.ingest.visitor import TELLING_HEADERS, Visitor
from relo_ingest.outcomes import (
    BEACON_PARTLY_STORED,
    BEACON_STORED,
    PIXEL_IMAGE_SERVED,
    Outcome,
)
from relo_ingest.registry.snapshot import Client

MAX_BODY = 1 << 20
MAX_SINGLE = 64 << 10
MAX_EVENTS = 500

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

PICK = Picker(b"content-type", b"content-length", b"x-forwarded-for", group=TELLING_HEADERS).pick
USUAL_TYPES = frozenset(
    (b"text/plain;charset=UTF-8", b"application/json", b"text/plain", b"text/plain;charset=utf-8", b"")
)
NO_CONTENT: dict[str, Any] = {"type": "http.response.start", "status": 204, "headers": [CORS]}
EMPTY_BODY: dict[str, Any] = {"type": "http.response.body", "body": b""}

Sender = tuple[int, str, Visitor]
"""What all events of one request share: when it came (Unix ms), the network it came from, what it says of itself."""


async def post_beacon(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """One beacon or an array of up to 500. 204; 200 with the refusals when only a part was taken."""
    content_type, content_length, forwarded_for, told = PICK(scope["headers"])
    if content_type not in USUAL_TYPES:
        _check_type(content_type)
    if len(content_length) > 6 and int(content_length) > MAX_BODY:
        raise RequestRefused(BODY_TOO_LARGE)
    body = await services.in_flight.read_body(receive, MAX_BODY, content_length)
    visitors = services.visitors
    sender = time_ns() // 1_000_000, visitors.network(scope, forwarded_for), visitors.visitor(told)
    if body[:1] != b"{" and body.lstrip()[:1] == b"[":
        return await _post_array(services, scope, sender, send, body)
    if len(body) > MAX_SINGLE:
        raise RequestRefused(BODY_TOO_LARGE, "A single event takes at most 64 KiB.")
    found, extras = beacon.decode(body)
    client = _store(services, sender, found, extras)
    await send(_cookie_answer(services, scope, sender, client, found) if client.cookie_domain else NO_CONTENT)
    await send(EMPTY_BODY)
    return BEACON_STORED


async def _post_array(services: Services, scope: Scope, sender: Sender, send: Send, body: bytes) -> Outcome:
    elements = beacon.decode_array(body)
    if len(elements) > MAX_EVENTS:
        raise RequestRefused(TOO_MANY_EVENTS)
    refused: list[tuple[int, RequestRefused]] = []
    answer = NO_CONTENT
    for index, element in enumerate(elements):
        try:
            if isinstance(element, RequestRefused):
                raise element
            client = _store(services, sender, *element)
            if client.cookie_domain:
                answer = _cookie_answer(services, scope, sender, client, element[0])
        except RequestRefused as refusal:
            refused.append((index, refusal))
    if not refused:
        await send(answer)
        await send(EMPTY_BODY)
        return BEACON_STORED
    if len(refused) == len(elements):
        # All or nothing is sent again: what waits for better times is worth the company of what never will be taken.
        raise next((r for _, r in refused if r.problem.retryable), refused[0][1])
    report = [{"index": i, "error": problem_content(r.problem, r.detail)} for i, r in refused]
    await respond_json(send, 200, {"stored": len(elements) - len(refused), "refused": report}, answer["headers"])
    return BEACON_PARTLY_STORED


async def get_beacon(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """A beacon in the query, answered with a 1×1 GIF: for pages that can only load an image."""
    _, _, forwarded_for, told = PICK(scope["headers"])
    found, extras = beacon.from_query(query_pairs(scope))
    visitors = services.visitors
    sender = time_ns() // 1_000_000, visitors.network(scope, forwarded_for), visitors.visitor(told)
    _store(services, sender, found, extras)
    await respond(send, 200, [CORS, NO_STORE, (b"content-type", b"image/gif")], GIF)
    return PIXEL_IMAGE_SERVED


def _check_type(content_type: bytes) -> None:
    if content_type.partition(b";")[0].strip().lower() not in (b"", b"application/json", b"text/plain"):
        raise RequestRefused(UNSUPPORTED_MEDIA_TYPE)


def _store(services: Services, sender: Sender, found: Beacon, extras: Extras) -> Client:
    """Check, encode and commit one event; its client. Raises RequestRefused, and then nothing is stored."""
    snapshot = services.registry.snapshot
    client_id = found.client_id
    client = snapshot.clients.get(client_id)
    if client is None:
        raise RequestRefused(UNKNOWN_CLIENT if snapshot.version else NOT_READY)
    received_at, network, visitor = sender
    event = beacon.to_event(found, extras, received_at, network, visitor, services.redactor)
    if visitor.is_private and client.respects_signals:
        event = signals.anonymous(event)
    services.quota.take(client_id)
    services.spool.append(event)
    services.counts.events += 1
    if event.email_hash and event.device_id:
        services.identity.remember(client_id, event.email_hash, event.device_id)
    return client


def _cookie_answer(services: Services, scope: Scope, sender: Sender, client: Client, found: Beacon) -> dict[str, Any]:
    """NO_CONTENT with the ids as cookies, where the client wants them and the browser would take them."""
    is_private = sender[2].is_private and client.respects_signals
    headers = pixel_cookies.answer_headers(
        scope, services.visitors, client.cookie_domain, found.cid, found.did, is_private=is_private
    )
    return NO_CONTENT if headers is None else {**NO_CONTENT, "headers": headers}
