"""The event: one thing that happened, as one row of the table ``events``.

``COLUMNS`` is the order in which a row is written. A segment carries the order it was
written in, so that rows written before a migration still insert correctly after it.
"""

from __future__ import annotations

import msgspec

SCALE = 10_000
"""``revenue`` is an integer count of 1/SCALE currency units: Decimal(18, 4) without a Decimal."""


class Column(msgspec.Struct, frozen=True):
    """A column of ``events``: its name, how RowBinary writes it, and the longest text it keeps."""

    name: str
    kind: str
    """``text``, ``u32``, ``bool``, ``ms`` (DateTime64(3)), ``decimal4`` (Decimal(18,4)), ``texts`` (Array(String)),
    ``json`` (a JSON column, written as the text of one object)."""
    max_bytes: int = 0
    """For ``text``: longer values are cut on a UTF-8 boundary. For ``texts``: the bound of each element."""


COLUMNS: tuple[Column, ...] = (
    Column("event_id", "text", 255),
    Column("client_id", "u32"),
    Column("event_time", "ms"),
    Column("received_at", "ms"),
    Column("event_type", "text", 32),
    Column("event_name", "text", 128),
    Column("channel", "text", 32),
    Column("media_source", "text", 32),
    Column("is_test", "bool"),
    Column("device_id", "text", 64),
    Column("click_id", "text", 64),
    Column("partner_ref", "text", 64),
    Column("offer", "text", 64),
    Column("order_id", "text", 255),
    Column("conversion_key", "text", 255),
    Column("refs", "texts", 255),
    Column("revenue", "decimal4"),
    Column("currency", "text", 8),
    Column("email_hash", "text", 64),
    Column("customer_ref", "text", 255),
    Column("promo_code", "text", 64),
    Column("url", "text", 2048),
    Column("referrer", "text", 2048),
    Column("title", "text", 512),
    Column("user_agent", "text", 512),
    Column("ip", "text", 45),
    Column("is_bot", "bool"),
    Column("bot_reason", "text", 32),
    Column("lang", "text", 35),
    Column("screen", "text", 16),
    Column("properties", "json"),
)


class Event(msgspec.Struct, gc=False):
    """One row of ``events``; the fields are COLUMNS, in that order.

    Times are Unix milliseconds (UTC). ``revenue`` is in 1/SCALE of a whole currency unit, an int.
    ``properties`` is the text of one JSON object, already encoded.
    """

    event_id: str
    client_id: int
    event_time: int
    received_at: int
    event_type: str
    event_name: str
    channel: str
    media_source: str
    is_test: bool = False
    device_id: str = ""
    click_id: str = ""
    partner_ref: str = ""
    offer: str = ""
    order_id: str = ""
    conversion_key: str = ""
    refs: tuple[str, ...] = ()
    revenue: int = 0
    currency: str = ""
    email_hash: str = ""
    customer_ref: str = ""
    promo_code: str = ""
    url: str = ""
    referrer: str = ""
    title: str = ""
    user_agent: str = ""
    ip: str = ""
    is_bot: bool = False
    bot_reason: str = ""
    lang: str = ""
    screen: str = ""
    properties: bytes = b"{}"


assert Event.__struct_fields__ == tuple(c.name for c in COLUMNS)
