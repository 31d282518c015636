"""A client's history, made by ClickHouse itself straight into ``events``: the views do the rest, as for real rows.

A tenth of the clicks ends in a payment. Of ten payments four name their click, four are known by their address, and
two by nothing; two payments in a row are one customer's, so the second may be the partner's by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from relo_ingest.clickhouse.client import INSERT_SETTINGS
from relo_ingest.registry import apply, model
from relo_ingest.registry.secrets import Keyring

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CLICKS, PAGES, PAYMENTS = 2_000_000, 10_000_000, 200_000
"""Of size 1."""
PARTNERS = 500
CLIENT_ID = 1

SPAN_MS = 60 * 86_400_000
COLUMNS = "event_id, client_id, event_time, received_at, event_type, event_name, channel, media_source"
AT = """toDateTime64('2026-09-01 00:00:00', 3, 'UTC')
           + toIntervalMillisecond(intDiv(number * {span:UInt64}, {n:UInt64}) + {later:UInt64})"""
VISITOR = "leftPad(toString(intDiv(number, 5)), 23, '0')"
"""Of a page view: five each."""

INSERT_CLICKS = f"""
INSERT INTO events ({COLUMNS}, click_id, partner_ref, offer, ip)
SELECT concat('01K', leftPad(toString(number), 23, '0')) AS id, {CLIENT_ID},
       {AT}, now64(3), 'click', 'click', 'link', 'link',
       id, concat('p', toString(cityHash64(number) % {PARTNERS})), 'main',
       concat('10.', toString(cityHash64(number, 1) % 200), '.', toString(cityHash64(number, 2) % 200), '.0')
FROM numbers({{n:UInt64}})
"""
INSERT_PAGES = f"""
INSERT INTO events ({COLUMNS}, device_id, click_id, email_hash, url)
SELECT concat('01P', leftPad(toString(number), 23, '0')), {CLIENT_ID},
       {AT}, now64(3), 'custom', 'page', 'pixel', 'pixel',
       concat('01D', {VISITOR}), concat('01K', {VISITOR}),
       if(number % 50 = 0, lower(hex(SHA256(toString(intDiv(number, 5))))), ''), 'https://shop.example.com/linen-shirt'
FROM numbers({{n:UInt64}})
"""
INSERT_PAYMENTS = f"""
INSERT INTO events ({COLUMNS}, order_id, conversion_key, refs, revenue, currency, click_id, email_hash, customer_ref)
SELECT concat('evt_', {{tag:String}}, toString(number)), {CLIENT_ID},
       {AT}, now64(3), 'purchase', 'purchase', 'stripe', 'stripe',
       concat('cs_', {{tag:String}}, toString(number)) AS session,
       concat('pi_', lower(hex(cityHash64({{tag:String}}, number)))) AS intent, [intent, session],
       toDecimal64(20 + number % 100, 4), 'USD',
       if(number % 10 < 4, concat('01K', leftPad(toString(number * 10), 23, '0')), ''),
       if(number % 10 BETWEEN 4 AND 7, lower(hex(SHA256(toString(number * 10)))), ''),
       concat('cus_', {{tag:String}}, toString(intDiv(number, 2)))
FROM numbers({{n:UInt64}})
"""


def register(client: Client) -> None:
    """One offer, PARTNERS partners, ten percent."""
    declaration = model.parse(
        {
            "clients": [{"client_id": CLIENT_ID, "slug": "shop"}],
            "offers": [{"client": "shop", "slug": "main", "landing_page": "https://shop.example.com/"}],
            "partners": [{"client": "shop", "ref": f"p{n}", "offers": ["main"]} for n in range(PARTNERS)],
            "commission_rules": [{"client": "shop", "name": "ten", "offer": "main", "basis_points": 1000}],
        },
        "bench",
    )
    apply.write(client, apply.changes(declaration, apply.current(client), Keyring(Fernet.generate_key().decode())))


def load(client: Client, size: float) -> None:
    """Clicks, page views and payments of 60 days."""
    for sql, n, later in (
        (INSERT_CLICKS, CLICKS, 0),
        (INSERT_PAGES, PAGES, 1_000),
        (INSERT_PAYMENTS, PAYMENTS, 3_600_000),
    ):
        _insert(client, sql, int(n * size), later)


def pay(client: Client, n: int, tag: str) -> None:
    """So many more payments, after the history; ``tag`` makes them others than those before."""
    _insert(client, INSERT_PAYMENTS, n, SPAN_MS, tag)


def _insert(client: Client, sql: str, n: int, later: int, tag: str = "") -> None:
    values = {"n": n, "span": SPAN_MS if not tag else 1_000, "later": later, "tag": tag}
    names = {k: v for k, v in values.items() if f"{{{k}:" in sql}
    client.command(sql, parameters=names, settings=INSERT_SETTINGS)
