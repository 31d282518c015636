"""``/r``: a partner's link. The click is recorded, the visitor goes on to the offer's landing page."""

from __future__ import annotations

import time
from urllib.parse import urlsplit, urlunsplit

import msgspec

from relo_ingest._fast import signature, ulid
from relo_ingest.errors import BAD_SIGNATURE, INVALID_EVENT, NOT_READY, UNKNOWN_REF, RequestRefused
from relo_ingest.events import Event
from relo_ingest.ingest import bots
from relo_ingest.ingest.http import (
    NO_STORE,
    Receive,
    Scope,
    Send,
    cookies,
    header,
    is_https,
    query_pairs,
    respond,
    text_header,
)
from relo_ingest.ingest.properties import storable
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import CLICK_STORED, Outcome

CLICK_COOKIE = "_relo_cid"
DEVICE_COOKIE = "_relo_did"
COOKIE_MAX_AGE_S = 60 * 86400
SIGNATURE_HEADER = b"relo-signature"


async def get_link(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """302 to the landing page with ``click_id`` appended, and the click cookie. 404 for an unknown ref or offer."""
    snapshot = services.registry.snapshot
    if not snapshot.version:
        raise RequestRefused(NOT_READY)
    query: dict[str, str] = {}
    for name, value in query_pairs(scope):
        query.setdefault(name, value)
    link = snapshot.links.get(query.pop("ref", ""))
    if link is None:
        raise RequestRefused(UNKNOWN_REF)
    offer = query.pop("offer", None) or next(iter(link.landing_pages))
    landing_page = link.landing_pages.get(offer)
    if landing_page is None:
        raise RequestRefused(UNKNOWN_REF, "This partner does not share that offer.")
    received_at = time.time_ns() // 1_000_000
    clicked_at = _clicked_at(services, scope, query, link.client_id, received_at)
    click_id = ulid.new_at(clicked_at) if clicked_at != received_at else ulid.new()
    device_id = cookies(scope).get(DEVICE_COOKIE, "")
    hops = services.settings.ingest.forwarded_hops
    user_agent, bot_reason = services.visitors.agent(header(scope, b"user-agent"))
    if not bot_reason:
        bot_reason = bots.by_purpose(header(scope, name) for name in bots.PURPOSE_HEADERS)
    services.spool.append(
        Event(
            event_id=click_id,
            client_id=link.client_id,
            event_time=clicked_at,
            received_at=received_at,
            event_type="click",
            event_name="click",
            channel="link",
            media_source="link",
            device_id=device_id if ulid.is_valid(device_id) else "",
            click_id=click_id,
            partner_ref=link.ref,
            offer=offer,
            url=landing_page,
            referrer=services.redactor.redact(text_header(scope, b"referer")),
            user_agent=user_agent,
            ip=services.visitors.network(scope, header(scope, b"x-forwarded-for")),
            is_bot=bot_reason != "",
            bot_reason=bot_reason,
            properties=storable(msgspec.json.encode(services.redactor.redact_pairs(query))),
        )
    )
    services.counts.events += 1
    await respond(
        send,
        302,
        [
            (b"location", _with_click_id(landing_page, click_id).encode()),
            (b"set-cookie", _cookie(click_id, services.settings.ingest.cookie_domain, is_https(scope, hops))),
            NO_STORE,
        ],
    )
    return CLICK_STORED


def _clicked_at(services: Services, scope: Scope, query: dict[str, str], client_id: int, received_at: int) -> int:
    """When the click happened: now, unless the client itself vouches for another time.

    A client's server may record clicks of the past (an import, a replay, the demo) with ``ts`` (Unix ms) in the
    query, when it signs the query string like a webhook, in the header ``Relo-Signature`` and with one of the
    client's signing secrets. Anybody else's ``ts`` would let a partner click before the sale that happened already.
    """
    signed = header(scope, SIGNATURE_HEADER)
    if not signed:
        return received_at
    secrets = services.registry.snapshot.clients[client_id].secrets_at(received_at // 1000, livemode=True)
    if signature.verify(scope["query_string"], signed, secrets, received_at // 1000) != signature.OK:
        raise RequestRefused(BAD_SIGNATURE)
    try:
        clicked_at = int(query.pop("ts", ""))
    except ValueError:
        raise RequestRefused(INVALID_EVENT, "ts: expected Unix milliseconds.") from None
    if not 0 <= clicked_at <= received_at:
        raise RequestRefused(INVALID_EVENT, "ts: expected a time in the past.")
    return clicked_at


def _with_click_id(landing_page: str, click_id: str) -> str:
    parts = urlsplit(landing_page)
    query = f"{parts.query}&click_id={click_id}" if parts.query else f"click_id={click_id}"
    return urlunsplit(parts._replace(query=query))


def _cookie(click_id: str, domain: str, secure: bool) -> bytes:
    attributes = f"{CLICK_COOKIE}={click_id}; Path=/; Max-Age={COOKIE_MAX_AGE_S}; SameSite=Lax"
    if domain:
        attributes += f"; Domain={domain}"
    if secure:
        attributes += "; Secure"
    return attributes.encode()
