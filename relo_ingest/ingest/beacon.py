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
from relo_ingest.ingest.properties import storable
from relo_ingest.money import scaled_from_decimal

PAST_MS = 30 * 86_400_000
"""A sender's time older than this is not believed: a retry queue does not live that long."""
AHEAD_MS = 300_000
"""Clock skew that is believed."""

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
    except msgspec.ValidationError as error:
        if "unknown field" not in str(error):
            raise RequestRefused(INVALID_EVENT, _reason(error)) from None
    except UNREADABLE as error:
        raise RequestRefused(MALFORMED_JSON, _reason(error)) from None
    fields = _decode_object(body)
    extras = {k: v for k, v in fields.items() if k not in KNOWN_FIELDS}
    try:
        return _decode_beacon(_encode({k: v for k, v in fields.items() if k in KNOWN_FIELDS})), extras
    except msgspec.ValidationError as error:
        raise RequestRefused(INVALID_EVENT, _reason(error)) from None


def decode_array(body: bytes) -> list[tuple[Beacon, Extras] | RequestRefused]:
    """An array of beacons; an element that is wrong stands as its refusal. Raises RequestRefused for no array."""
    try:
        return [(b, {}) for b in _decode_array(body)]
    except msgspec.ValidationError:
        pass
    except UNREADABLE as error:
        raise RequestRefused(MALFORMED_JSON, _reason(error)) from None
    found: list[tuple[Beacon, Extras] | RequestRefused] = []
    for element in _decode_raw_array(body):
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
            extras.setdefault(name, msgspec.Raw(_encode(value)))
        elif name in ("products", "props"):
            fields[name] = _raw_json(name, value)
        else:
            fields.setdefault(name, value)
    try:
        return msgspec.convert(fields, Beacon, strict=False), extras
    except msgspec.ValidationError as error:
        raise RequestRefused(INVALID_EVENT, _reason(error)) from None


def to_event(beacon: Beacon, extras: Extras, received_at: int, ip: str, user_agent: str) -> Event:
    """The row of a beacon. ``received_at`` is Unix milliseconds. Raises RequestRefused(INVALID_EVENT)."""
    event_id = beacon.event_id
    if event_id:
        if not ulid.is_valid(event_id):
            raise RequestRefused(INVALID_EVENT, "event_id: expected a ULID.")
        event_id = ulid.normalize(event_id)
    email_hash = beacon.email_hash
    if email_hash:
        email_hash = email_hash.lower()
        if not digest.is_sha256_hex(email_hash):
            raise RequestRefused(INVALID_EVENT, "email_hash: expected a SHA-256 in hexadecimal.")
    if beacon.currency and not re.fullmatch("[A-Za-z]{3}", beacon.currency):
        raise RequestRefused(INVALID_EVENT, "currency: expected three letters.")
    event_time = _event_time(beacon.ts, event_id, received_at)
    if beacon.ts is not None and beacon.ts != event_time:
        extras = {**extras, "_relo_ts": msgspec.Raw(_encode(beacon.ts))}
    return Event(
        event_id=event_id or ulid.new(),
        client_id=beacon.client_id,
        event_time=event_time,
        received_at=received_at,
        event_type=EVENT_TYPES.get(beacon.event, "custom"),
        event_name=beacon.event,
        channel="pixel",
        media_source="pixel",
        device_id=beacon.did,
        click_id=beacon.cid,
        order_id=str(beacon.order_id),
        revenue=0 if beacon.value is None else _revenue(beacon.value),
        currency=beacon.currency.upper(),
        email_hash=email_hash,
        url=beacon.url,
        referrer=beacon.referrer,
        title=beacon.title,
        user_agent=user_agent,
        ip=ip,
        lang=beacon.lang,
        screen=beacon.screen,
        properties=_properties(beacon, extras),
    )


def _event_time(ts: int | None, event_id: str, received_at: int) -> int:
    """The sender's time when it can be believed, else that of its event id, else ours.

    The id comes before our own clock so that a retry of the same event has the same time, and so is the same row.
    """
    if ts is not None and received_at - PAST_MS <= ts <= received_at + AHEAD_MS:
        return ts
    if event_id:
        made_at = ulid.timestamp_ms(event_id)
        if received_at - PAST_MS <= made_at <= received_at + AHEAD_MS:
            return made_at
    return received_at


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
    if not extras and not beacon.user_id and not beacon.products:
        return storable(props) if props else b"{}"
    merged: Extras = _decode_object(props) if props else {}
    merged.update(extras)
    if beacon.products:
        merged["products"] = beacon.products
    if beacon.user_id:
        merged["user_id"] = msgspec.Raw(_encode(str(beacon.user_id)))
    return storable(_encode(merged))


def _raw_json(name: str, value: str) -> msgspec.Raw:
    try:
        return msgspec.Raw(_encode(msgspec.json.decode(value)))
    except UNREADABLE:
        raise RequestRefused(INVALID_EVENT, f"{name}: expected JSON.") from None


def _reason(error: Exception) -> str:
    """msgspec's messages name types and paths, never values; the others' may hold a part of the body."""
    if isinstance(error, RecursionError):
        return "It is nested too deep."
    if isinstance(error, UnicodeDecodeError):
        return "It is not UTF-8."
    return str(error).replace("`", "").replace(" - at $.", " at ").replace(" - at $", "") + "."
