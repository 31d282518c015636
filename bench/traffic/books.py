"""The books of a run: what was sent, what was acknowledged, what it earns; and whether ClickHouse has the same."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bench.traffic.requests import CLIENT_ID, Sale

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PATIENCE_S = 60.0
"""After the last answer: the age of a segment, the flush, a round of the worker."""
SHOWN = 3

Rows = list[tuple[Any, ...]]

STORED = """
SELECT if(event_type = 'click', toString(properties.s2), event_id) AS key, count() AS times, uniqExact(event_id) AS ids
FROM events
WHERE client_id = {client:UInt32}
  AND (toString(properties.load) = {run:String} OR toString(properties.s1) = {run:String}
       OR startsWith(event_id, {event_prefix:String}))
GROUP BY key
"""
CLICKS = """
SELECT toString(properties.s2) AS key, click_id, partner_ref FROM clicks
WHERE client_id = {client:UInt32} AND toString(properties.s1) = {run:String}
"""
CONVERSIONS = """
SELECT conversion_key, currency, revenue FROM conversions
WHERE client_id = {client:UInt32} AND startsWith(conversion_key, {key_prefix:String})
"""
# attributions and ledger may be tables with rows not merged yet, or views over them: read so that both give the same.
ATTRIBUTIONS = """
SELECT conversion_key, argMax(partner_ref, attributed_at), argMax(method, attributed_at) FROM attributions
WHERE client_id = {client:UInt32} AND startsWith(conversion_key, {key_prefix:String})
GROUP BY conversion_key
"""
LEDGER = """
SELECT conversion_key, partner_ref, currency, sum(amount) FROM
(
    SELECT entry_id, conversion_key, partner_ref, currency, amount FROM ledger
    WHERE client_id = {client:UInt32} AND startsWith(conversion_key, {key_prefix:String})
    LIMIT 1 BY entry_id
)
GROUP BY conversion_key, partner_ref, currency
"""


class Books:
    """One run's. ``run`` is a name that no other run has."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.sent: dict[str, int] = {}
        """How often each event went out, by its key: its id, or the ``s2`` of a click, whose id the server makes."""
        self.acknowledged: set[str] = set()
        self.clicks: dict[str, tuple[str, str]] = {}
        """Click id and partner of each acknowledged click."""
        self.sales: dict[str, Sale] = {}
        """By event id, of acknowledged webhooks."""

    def note_sent(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.sent[key] = self.sent.get(key, 0) + 1

    def __str__(self) -> str:
        return (
            f"{len(self.acknowledged):,} events acknowledged, of them {len(self.clicks):,} clicks and "
            f"{len(self.sales):,} payments"
        )


def reconcile(books: Books, client: Client) -> list[str]:
    """Wait until ClickHouse has everything, at most PATIENCE_S; then what does not agree, one line each."""
    until = time.monotonic() + PATIENCE_S
    while True:
        complaints = list(differences(books, *(_read(books, client, sql) for sql in QUERIES)))
        if not complaints or time.monotonic() > until:
            return complaints
        time.sleep(1)


QUERIES = (STORED, CLICKS, CONVERSIONS, ATTRIBUTIONS, LEDGER)


def _read(books: Books, client: Client, sql: str) -> Rows:
    parameters = {
        "client": CLIENT_ID,
        "run": books.run,
        "event_prefix": f"evt_load_{books.run}_",
        "key_prefix": f"pi_load_{books.run}_",
    }
    return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]


def differences(
    books: Books, stored: Rows, clicks: Rows, conversions: Rows, attributions: Rows, ledger: Rows
) -> Iterator[str]:
    """What the rows of QUERIES say against the books."""
    times = {key: (count, ids) for key, count, ids in stored}
    yield from _named("acknowledged, and not in events", books.acknowledged - times.keys())
    yield from _named("in events, and never sent", times.keys() - books.sent.keys())
    often = {key for key, (count, ids) in times.items() if ids > 1 or count > books.sent.get(key, count)}
    yield from _named("in events more often than it was sent", often)

    found_clicks = {key: (click_id, partner) for key, click_id, partner in clicks}
    yield from _unlike("click", books.clicks, {k: found_clicks[k] for k in books.clicks.keys() & found_clicks.keys()})

    sales = {sale.conversion_key: sale for sale in books.sales.values()}
    paid = {key: (sale.currency, sale.amount) for key, sale in sales.items()}
    yield from _unlike("payment", paid, _by_key(conversions, paid))
    yield from _named("counted twice as a conversion", _repeated(conversions))
    partners = {key: (sale.partner, "click_id") for key, sale in sales.items()}
    yield from _unlike("attribution", partners, _by_key(attributions, partners))
    owed = {key: (s.partner, s.currency, s.commission) for key, s in sales.items() if s.commission}
    earned = _by_key(ledger, sales)
    yield from _unlike("commission", owed, {k: v for k, v in earned.items() if k in owed or v[-1] != Decimal(0)})
    yield from _named("in the ledger for two partners or currencies", _repeated(ledger))


def _by_key(rows: Rows, wanted: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Rows by their first column; of payments whose answer never came, we know nothing."""
    keys = set(wanted)
    return {key: tuple(rest) for key, *rest in rows if key in keys}


def _repeated(rows: Rows) -> set[str]:
    keys = [row[0] for row in rows]
    return {key for key in keys if keys.count(key) > 1}


def _unlike(what: str, expected: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    wrong = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    for key in sorted(wrong)[:SHOWN]:
        yield f"{what} {key}: expected {_told(expected.get(key))}, found {_told(found.get(key))}"
    if len(wrong) > SHOWN:
        yield f"{what}: {len(wrong) - SHOWN} more"


def _told(values: tuple[Any, ...] | None) -> str:
    return "nothing" if values is None else " ".join(map(str, values))


def _named(what: str, keys: set[str]) -> Iterator[str]:
    if keys:
        yield f"{len(keys)} {what}: {', '.join(sorted(keys)[:SHOWN])}{' …' if len(keys) > SHOWN else ''}"
