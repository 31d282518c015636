"""``/click``: a partner's link straight to the landing page (``https://shop.example/?ref=ana``).

No redirect passes through here, so the pixel reports the click. It is the same row as that of ``/r``.
"""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta

from relo_ingest._fast import ulid
from relo_ingest._fast.headers import Picker
from relo_ingest.errors import INVALID_EVENT, MALFORMED_JSON, NOT_READY, UNKNOWN_REF, RequestRefused
from relo_ingest.events import Event
from relo_ingest.ingest import signals
from relo_ingest.ingest.http import UNREADABLE, Receive, Scope, Send, cors, respond
from relo_ingest.ingest.links import click_properties
from relo_ingest.ingest.services import Services
from relo_ingest.ingest.visitor import TELLING_HEADERS, Visitor
from relo_ingest.outcomes import LANDING_CLICK_STORED, Outcome

MAX_BODY = 16 << 10
MOST_DELAYED_MS = 300_000
"""A click id that was made up to so long ago says when the click happened; the time of any other is that of its
arrival. A page that could name any time could put a click before a sale that happened already."""


class LandingClick(msgspec.Struct):
    """What the pixel sends. ``click_id`` is made by the browser: a click that is sent again is the same click."""

    client_id: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    click_id: str
    url: str
    """Of the landing page; ``ref``, ``offer``, ``s1`` … ``s10``, ``fbclid``, … stand in its query."""
    referrer: str = ""
    did: str = ""


_decode = msgspec.json.Decoder(LandingClick).decode
PICK = Picker(b"x-forwarded-for", group=TELLING_HEADERS).pick


async def post_click(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """204; 404 when no active partner of the client has this ``ref``: then it is a parameter of the site's own."""
    body = await services.in_flight.read_body(receive, MAX_BODY)
    try:
        click = _decode(body)
    except msgspec.ValidationError:
        raise RequestRefused(INVALID_EVENT, "Expected client_id, click_id and url.") from None
    except UNREADABLE:
        raise RequestRefused(MALFORMED_JSON) from None
    snapshot = services.registry.snapshot
    if not snapshot.version:
        raise RequestRefused(NOT_READY)
    forwarded_for, told = PICK(scope["headers"])
    visitor, network = services.visitors.visitor(told), services.visitors.network(scope, forwarded_for)
    event = _event(services, visitor, network, click, _query(click.url))
    if visitor.is_private and snapshot.clients[event.client_id].respects_signals:
        event = signals.anonymous(event)
    services.quota.take(event.client_id)
    services.spool.append(event)
    services.counts.events += 1
    await respond(send, 204, cors(scope))
    return LANDING_CLICK_STORED


def _event(services: Services, visitor: Visitor, network: str, click: LandingClick, query: dict[str, str]) -> Event:
    """The row of a click. Raises RequestRefused."""
    link = services.registry.snapshot.links.get(query.pop("ref", ""))
    if link is None or link.client_id != click.client_id:
        raise RequestRefused(UNKNOWN_REF)
    if not ulid.is_valid(click.click_id):
        raise RequestRefused(INVALID_EVENT, "click_id: expected a ULID.")
    click_id = ulid.normalize(click.click_id)
    received_at = time.time_ns() // 1_000_000
    made_at = ulid.timestamp_ms(click_id)
    offer = query.get("offer", "")
    if offer in link.landings:
        del query["offer"]
    else:  # a parameter of the site's own
        offer = link.default.offer
    return Event(
        event_id=click_id,
        client_id=link.client_id,
        event_time=made_at if received_at - MOST_DELAYED_MS <= made_at <= received_at else received_at,
        received_at=received_at,
        event_type="click",
        event_name="click",
        channel="link",
        media_source="link",
        device_id=click.did if ulid.is_valid(click.did) else "",
        click_id=click_id,
        partner_ref=link.ref,
        offer=offer,
        url=services.redactor.redact(click.url),
        referrer=services.redactor.redact(click.referrer),
        user_agent=visitor.agent,
        ip=network,
        is_bot=visitor.is_bot,
        bot_reason=visitor.bot_reason,
        properties=click_properties(services, query) if query else b"{}",
    )


def _query(url: str) -> dict[str, str]:
    """The first value of each parameter."""
    try:
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise RequestRefused(INVALID_EVENT, "url: expected an address with at most 100 parameters.") from None
    return dict(reversed(pairs))
