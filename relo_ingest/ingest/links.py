"""``/r`` and ``/c/{code}``: a partner's link. The click is recorded, the visitor goes on to the offer's page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from relo_ingest._fast import query as query_string
from relo_ingest._fast import signature, ulid
from relo_ingest._fast.headers import Picker
from relo_ingest.errors import BAD_SIGNATURE, INVALID_EVENT, RequestRefused
from relo_ingest.events import Event
from relo_ingest.ingest import fallback
from relo_ingest.ingest.click_cookies import cookie, is_repeat
from relo_ingest.ingest.http import NO_STORE, Headers, Receive, Scope, Send
from relo_ingest.ingest.properties import storable
from relo_ingest.ingest.services import Services
from relo_ingest.ingest.visitor import TELLING_HEADERS
from relo_ingest.outcomes import CLICK_STORED, LINK_SHOWN, Outcome
from relo_ingest.registry.landing import Landing, split_at_click_id
from relo_ingest.registry.short_links import PATH as SHORT_PREFIX
from relo_ingest.registry.snapshot import Link
from relo_ingest.settings import Ingest

MOST_PARAMETERS = 100
LONGEST_REFUSED = 500
"""Characters that are kept of a ``to`` that leads nowhere."""
DEVICE_COOKIE = b"_relo_did="

SUB_IDS = tuple(f"s{n}" for n in range(1, 11))
AD_CLICK_IDS = ("fbclid", "gclid", "gbraid", "wbraid", "ttclid", "msclkid")
"""What ad networks add to a link: Meta; Google, and its two for iOS; TikTok; Microsoft."""
OWN_NAMES = frozenset((*SUB_IDS, *AD_CLICK_IDS))
"""Parameters that are no secret by their name."""
OURS = "_relo_"

EMPTY = (b"content-length", b"0")
EMPTY_BODY: dict[str, Any] = {"type": "http.response.body", "body": b""}

Parameters = dict[str, str]
Pick = Callable[[Iterable[tuple[bytes, bytes]]], tuple[Any, ...]]

_encode = msgspec.json.encode


def headers_of_links(settings: Ingest) -> Pick:
    """Picks what a click needs of a request's headers, the TELLING_HEADERS last."""
    country = settings.country_header.lower().encode() or b"no such header"
    own = (b"referer", b"cookie", b"x-forwarded-for", b"x-forwarded-proto", b"relo-signature", country)
    return Picker(*own, group=TELLING_HEADERS).pick


async def get_link(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """302 to the landing page, or where ``to`` may lead, with ``click_id`` appended, and the click cookie."""
    query = _parameters(scope)
    link = services.registry.snapshot.links.get(query.get("ref", ""))
    if link is None:
        return await fallback.answer(services, scope, send, query)
    headers = _click(services, scope, link, query, "")
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send(EMPTY_BODY)
    return CLICK_STORED


async def get_short_link(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The same for a link of ``relo link``; parameters of the request come before those of the link."""
    query, code = _short(services, scope)
    link = services.registry.snapshot.links.get(query.get("ref", ""))
    if link is None:
        return await fallback.answer(services, scope, send, query)
    headers = _click(services, scope, link, query, code)
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send(EMPTY_BODY)
    return CLICK_STORED


async def head_link(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """Where the link leads. Nobody clicked: nothing is recorded, there is no click id and no cookie."""
    return await _show(services, scope, send, _parameters(scope))


async def head_short_link(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    return await _show(services, scope, send, _short(services, scope)[0])


async def _show(services: Services, scope: Scope, send: Send, query: Parameters) -> Outcome:
    link = services.registry.snapshot.links.get(query.get("ref", ""))
    if link is None:
        return await fallback.answer(services, scope, send, query)
    landing = link.landings.get(query.get("offer", ""), link.default)
    address = landing.target(query.get("to", "")) or landing.address
    headers = [(b"location", address.encode()), NO_STORE, EMPTY]
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send(EMPTY_BODY)
    return LINK_SHOWN


def _parameters(scope: Scope) -> Parameters:
    try:
        return query_string.parse(scope["query_string"], MOST_PARAMETERS)
    except ValueError:
        raise RequestRefused(INVALID_EVENT, f"Send at most {MOST_PARAMETERS} parameters.") from None


def _short(services: Services, scope: Scope) -> tuple[Parameters, str]:
    """The parameters of the link that a code stands for, and the code; none for a code that nobody made."""
    code = scope["path"][len(SHORT_PREFIX) :]
    short = services.registry.snapshot.short_links.get(code)
    if short is None:
        return {}, ""
    fixed = {"ref": short.ref, "offer": short.offer, "to": short.to}
    return short.parameters | _parameters(scope) | fixed, code


def _click(services: Services, scope: Scope, link: Link, query: Parameters, code: str) -> Headers:
    """Record the click; returns the headers of the answer. Raises RequestRefused, and then nothing is stored."""
    visitors = services.visitors
    picked = services.pick_for_links(scope["headers"])
    referrer, cookies, forwarded_for, forwarded_proto, signed, country, told = picked
    received_at = time.time_ns() // 1_000_000
    if signed:
        clicked_at = _clicked_at(services, scope, signed, query, link.client_id, received_at)
        click_id = ulid.new_at(clicked_at)
    else:
        clicked_at, click_id = received_at, ulid.new()
    visitor = visitors.visitor(told)
    del query["ref"]
    landing = link.landings.get(query.pop("offer", ""), link.default)
    to = query.pop("to", "")
    page, before, after = landing.page, landing.before, landing.after
    notes: dict[str, Any] = {}
    if to:
        target = landing.target(to)
        if target:
            page = services.redactor.redact(target)
            before, after = split_at_click_id(target, [n for n in landing.append if n in query])
        else:
            notes["_relo_refused_to"] = services.redactor.redact(to)[:LONGEST_REFUSED]
    if landing.append:
        after = _appended(landing, query) + after
    device_id = ""
    repeats = False
    if cookies:
        device_id = cookie(cookies, DEVICE_COOKIE)
        if not ulid.is_valid(device_id):
            device_id = ""
        repeats = is_repeat(cookie(cookies, landing.dedup_cookie), clicked_at, landing.dedup_ms)
        if repeats:
            notes["_relo_repeat"] = True
    if country:
        notes["_relo_country"] = visitors.country(country)
    if code:
        notes["_relo_code"] = code

    # By position, in the order of events.COLUMNS: naming 31 fields would take longer than all the rest of it.
    event = Event(
        click_id,
        link.client_id,
        clicked_at,
        received_at,
        "click",
        "click",
        "link",
        "link",
        False,  # is_test
        device_id,
        click_id,
        link.ref,
        landing.offer,
        "",  # order_id
        "",  # conversion_key
        (),  # refs
        0,  # revenue
        "",  # currency
        "",  # email_hash
        "",  # customer_ref
        "",  # promo_code
        page,
        services.redactor.redact(referrer.decode("utf-8", "replace")) if referrer else "",
        "",  # title
        visitor.agent,
        visitors.network(scope, forwarded_for),
        visitor.is_bot,
        visitor.bot_reason,
        "",  # lang
        "",  # screen
        click_properties(services, query, notes) if query or notes else b"{}",
    )
    services.spool.append(event)
    services.counts.events += 1

    own = click_id.encode()
    secure = visitors.is_https(scope, forwarded_proto)
    headers = [(b"location", f"{before}{click_id}{after}".encode()), NO_STORE]
    if visitor.is_bot:
        # Who prefetches did not click: a page that has its visitors prefetch links must not leave a cookie with them.
        # If they do go there, the landing page has the click id in its address.
        return headers
    headers.append((b"set-cookie", services.click_cookies.of_click(landing, own, secure)))
    # Not for a repeat, or somebody who clicks every 29 minutes would never count again.
    if landing.dedup_ms and not repeats:
        headers.append((b"set-cookie", services.click_cookies.of_link(landing, own, secure)))
    return headers


def _appended(landing: Landing, query: Parameters) -> str:
    """``&name=value`` of what the offer asks for and the link has."""
    return "".join(f"&{name}={quote(query[name], safe='')}" for name in landing.append if name in query)


def click_properties(services: Services, query: Parameters, notes: dict[str, Any] | None = None) -> bytes:
    """What a link says, and what we note of it, as the text of one JSON object. No secret's value is kept."""
    if not OWN_NAMES.issuperset(query):
        query = {k: v for k, v in services.redactor.redact_pairs(query).items() if not k.startswith(OURS)}
    text = _encode(query | notes if notes else query)
    # One level of texts that were made from UTF-8: nothing else of it can be unstorable.
    return storable(text) if b"@" in text else text


def _clicked_at(
    services: Services, scope: Scope, signed: bytes, query: Parameters, client_id: int, received_at: int
) -> int:
    """When the click happened: now, unless the client itself vouches for another time.

    A client's server may record clicks of the past (an import, a replay, the demo) with ``ts`` (Unix ms) in the
    query, when it signs the query string like a webhook, in the header ``Relo-Signature`` and with one of the
    client's signing secrets. Anybody else's ``ts`` would let a partner click before the sale that happened already.
    """
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
