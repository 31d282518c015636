"""A beacon: what the pixel sends, and the event it becomes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from relo_ingest._fast import digest, ulid
from relo_ingest.errors import INVALID_EVENT, MALFORMED_JSON, RequestRefused
from relo_ingest.events import Event
from relo_ingest.ingest.http import UNREADABLE
from relo_ingest.ingest.privacy import Redactor, without_addresses
from relo_ingest.ingest.properties import storable
from relo_ingest.ingest.visitor import Visitor
from relo_ingest.money import scaled_from_decimal

PAST_MS = 30 * 86_400_000
"""A sender's time older than this is not believed: a retry queue does not live that long."""
AHEAD_MS = 300_000
"""Clock skew that is believed."""

OURS = b"_relo_"
"""Keys of ``properties`` that begin so are written by us alone."""

EVENT_TYPES = {"page": "page", "identify": "identify", "purchase": "purchase", "lead": "lead"}


class Beacon(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of DESIGN §5. An unknown one is not an error: see ``decode``."""

    client_id: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    event: str = "page"
    event_id: str = ""
    cid: str = ""
    did: str = ""
    ts: int | None = None
    url: str = ""
    referrer: str = ""
    title: str = ""
    lang: str = ""
    screen: str = ""
    user_id: str | int = ""
    email_hash: str = ""
    value: Decimal | None = None
    currency: str = ""
    order_id: str | int = ""
    products: msgspec.Raw = msgspec.Raw(b"")
    props: msgspec.Raw = msgspec.Raw(b"")


KNOWN_FIELDS = frozenset(Beacon.__struct_fields__)

_decode_beacon = msgspec.json.Decoder(Beacon).decode
_decode_array = msgspec.json.Decoder(list[Beacon]).decode
_decode_raw_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode

Extras = dict[str, msgspec.Raw]


def decode(body: bytes) -> tuple[Beacon, Extras]:
    """One beacon, and the fields of it that are not ours. Raises RequestRefused."""
    try:
        return _decode_beacon(body), {}
    except UNREADABLE as error:
        if "unknown field" not in str(error):
            raise _refusal(error) from None
    try:
        fields = _decode_object(body)
        known = _encode({k: v for k, v in fields.items() if k in KNOWN_FIELDS})
        return _decode_beacon(known), {k: v for k, v in fields.items() if k not in KNOWN_FIELDS and not _is_ours(k)}
    except UNREADABLE as error:  # the first look ended at the unknown field: what comes after it was not seen before
        raise _refusal(error) from None


def decode_array(body: bytes) -> list[tuple[Beacon, Extras] | RequestRefused]:
    """An array of beacons; an element that is wrong stands as its refusal. Raises RequestRefused for no array."""
    try:
        return [(b, {}) for b in _decode_array(body)]
    except UNREADABLE as error:
        if not isinstance(error, msgspec.ValidationError):
            raise _refusal(error) from None
    try:
        elements = _decode_raw_array(body)
    except UNREADABLE as error:  # behind the element that is wrong
        raise _refusal(error) from None
    found: list[tuple[Beacon, Extras] | RequestRefused] = []
    for element in elements:
        try:
            found.append(decode(bytes(element)))
        except RequestRefused as refused:
            found.append(refused)
    return found


def from_query(pairs: list[tuple[str, str]]) -> tuple[Beacon, Extras]:
    """A beacon whose fields stand in a query string. Raises RequestRefused."""
    fields: dict[str, Any] = {}
    extras: Extras = {}
    for name, value in pairs:
        if name not in KNOWN_FIELDS:
            if _is_ours(name):
                continue
            extras.setdefault(name, msgspec.Raw(_encode(value)))
        elif name in ("products", "props"):
            fields[name] = _raw_json(name, value)
        else:
            fields.setdefault(name, value)
    try:
        return msgspec.convert(fields, Beacon, strict=False), extras
    except msgspec.ValidationError as error:
        raise _refusal(error) from None


def to_event(
    beacon: Beacon, extras: Extras, received_at: int, network: str, visitor: Visitor, redactor: Redactor
) -> Event:
    """The row of a beacon that came at ``received_at`` (Unix ms). Raises RequestRefused(INVALID_EVENT)."""
    event_id, ts, name = beacon.event_id, beacon.ts, beacon.event
    if event_id:
        try:
            event_id = ulid.normalize(event_id)
        except ValueError:
            raise RequestRefused(INVALID_EVENT, "event_id: expected a ULID.") from None
    if ts is not None and received_at - PAST_MS <= ts <= received_at + AHEAD_MS:
        event_time = ts
    else:
        event_time = _doubtful_time(event_id, received_at)
        if ts is not None:
            extras = {**extras, "_relo_ts": msgspec.Raw(_encode(ts))}
    if not event_id:
        event_id = ulid.new()
    # By position, in the order of events.COLUMNS: naming 31 fields would take longer than all the rest of it.
    return Event(
        event_id,
        beacon.client_id,
        event_time,
        received_at,
        EVENT_TYPES.get(name, "custom"),
        name,
        "pixel",
        "pixel",
        False,  # is_test
        beacon.did,
        beacon.cid,
        "",  # partner_ref
        "",  # offer
        str(beacon.order_id) if beacon.order_id else "",
        _lead_key(beacon, event_id) if name == "lead" else "",  # else no conversion: what a page says is no payment
        (),  # refs
        _revenue(beacon.value) if beacon.value is not None else 0,
        _currency(beacon.currency) if beacon.currency else "",
        _email_hash(beacon.email_hash) if beacon.email_hash else "",
        "",  # customer_ref
        "",  # promo_code
        redactor.redact(beacon.url),
        redactor.redact(beacon.referrer) if beacon.referrer else "",
        without_addresses(beacon.title) if "@" in beacon.title else beacon.title,
        visitor.agent,
        network,
        visitor.is_bot,
        visitor.bot_reason,
        beacon.lang,
        beacon.screen,
        _properties(beacon, extras) if beacon.props or extras or beacon.user_id or beacon.products else b"{}",
    )


def _lead_key(beacon: Beacon, event_id: str) -> str:
    """What makes two leads the same one: the best name that the page has for it, or for who it is of."""
    who = str(beacon.user_id)
    if "@" in who:
        who = digest.email_hash(who)
    return f"lead:{beacon.order_id or beacon.email_hash.lower() or who or beacon.did or event_id}"


def _doubtful_time(event_id: str, received_at: int) -> int:
    """The time of an event whose sender gave none, or none to be believed: that of its id, else ours.

    The id comes first so that a retry of the same event has the same time, and so is the same row.
    """
    if event_id:
        made_at = ulid.timestamp_ms(event_id)
        if received_at - PAST_MS <= made_at <= received_at + AHEAD_MS:
            return made_at
    return received_at


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Za-z]{3}", text):
        raise RequestRefused(INVALID_EVENT, "currency: expected three letters.")
    return text.upper()


def _email_hash(text: str) -> str:
    found = text.lower()
    if not digest.is_sha256_hex(found):
        raise RequestRefused(INVALID_EVENT, "email_hash: expected a SHA-256 in hexadecimal.")
    return found


def _revenue(value: Decimal) -> int:
    try:
        return scaled_from_decimal(value)
    except ValueError as error:
        raise RequestRefused(INVALID_EVENT, f"value: {error}.") from None


def _properties(beacon: Beacon, extras: Extras) -> bytes:
    """What has no column, as one JSON object: ``props`` spread out, then the rest."""
    props = bytes(beacon.props)
    if props == b"null":
        props = b""
    if props and props[0] != 0x7B:
        raise RequestRefused(INVALID_EVENT, "props: expected an object.")
    if OURS in props:
        props = _encode({k: v for k, v in _decode_object(storable(props)).items() if not _is_ours(k)})
    if not extras and not beacon.user_id and not beacon.products:
        return storable(props) if props else b"{}"
    # Made storable first: what Raw let through (keys that are not UTF-8, any depth) may not decode.
    merged: Extras = _decode_object(storable(props)) if props else {}
    merged.update(extras)
    if beacon.products:
        merged["products"] = beacon.products
    if beacon.user_id:
        merged["user_id"] = msgspec.Raw(_encode(str(beacon.user_id)))
    return storable(_encode(merged))


def _is_ours(key: str) -> bool:
    return key.startswith("_relo_")


def _raw_json(name: str, value: str) -> msgspec.Raw:
    try:
        return msgspec.Raw(_encode(msgspec.json.decode(value)))
    except UNREADABLE:
        raise RequestRefused(INVALID_EVENT, f"{name}: expected JSON.") from None


def _refusal(error: Exception) -> RequestRefused:
    """For one of UNREADABLE: JSON with other fields than ours, or no JSON."""
    problem = INVALID_EVENT if isinstance(error, msgspec.ValidationError) else MALFORMED_JSON
    return RequestRefused(problem, _reason(error))


def _reason(error: Exception) -> str:
    """msgspec's messages name types and paths, never values; the others' may hold a part of the body."""
    if isinstance(error, RecursionError):
        return "It is nested too deep."
    if isinstance(error, UnicodeDecodeError):
        return "It is not UTF-8."
    return str(error).replace("`", "").replace(" - at $.", " at ").replace(" - at $", "") + "."
