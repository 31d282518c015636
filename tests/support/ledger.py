"""What senders were promised, and whether ClickHouse kept it.

A load client notes every event it sends and how it was answered. Afterwards, whatever broke in between:

- an event that was acknowledged (2xx) is there exactly once;
- an event that was refused (4xx, 5xx, or its connection never opened) is not there at all;
- an event whose answer never came (the connection died) is there once or not at all;
- nothing is there that was never sent;
- the views tell the same story: clicks, conversion reports, conversions with their revenue to the last decimal,
  references, traffic.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SHOWN = 5
"""How many ids a failure names."""


class Answer(enum.IntEnum):
    """Ordered: of several answers to one event (it was sent again), the largest says what must be stored."""

    REFUSED = 1
    UNANSWERED = 2
    ACKNOWLEDGED = 3


class Payment(msgspec.Struct, frozen=True):
    """``amount`` in whole units of ``currency``."""

    conversion_key: str
    currency: str
    amount: Decimal


class Ledger:
    """One test's events. Whoever sends notes from one thread; ``verify`` comes after the last note.

    An event's key is its event id, known before it is sent; a click's is the ``s1`` of its link, because its event
    id is made by the server.
    """

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._payments: dict[str, Payment] = {}
        self._click_ids: dict[str, str] = {}
        self.acknowledged = 0

    def note(self, key: str, answer: Answer, *, payment: Payment | None = None, click_id: str = "") -> None:
        before = self._answers.get(key)
        if answer is Answer.ACKNOWLEDGED and before is not answer:
            self.acknowledged += 1
        self._answers[key] = max(answer, before or answer)
        if payment is not None:
            self._payments[key] = payment
        if click_id:
            self._click_ids[key] = click_id

    def click_id(self, key: str) -> str:
        """What the visitor of an acknowledged click was given."""
        return self._click_ids[key]

    def keys(self, answer: Answer) -> set[str]:
        return {k for k, a in self._answers.items() if a is answer}

    def __str__(self) -> str:
        counts = Counter(self._answers.values())
        return ", ".join(f"{counts[a]} {a.name.lower()}" for a in reversed(Answer))

    def verify(self, client: Client, *, once_even_raw: bool = False) -> None:
        """Fails with what is missing, doubled, or should not be there.

        ``once_even_raw``: no event was sent twice, so that not even a raw count finds a row twice. Takes a database in
        which nothing was merged (``SYSTEM STOP MERGES``), or a merge may hide what it looks for.
        """
        stored = self._verify_events(client)
        self._verify_clicks(client)
        self._verify_conversions(client, stored)
        self._verify_traffic(client, len(stored))
        if once_even_raw:
            for table in ("events", "click_rows", "conversion_reports", "payment_refs"):
                (raw, final), *_ = _rows(client, f"SELECT count(), (SELECT count() FROM {table} FINAL) FROM {table}")
                assert raw == final, f"{table}: {raw} rows, {final} without repeated ones: a batch was stored twice"

    def _verify_events(self, client: Client) -> set[str]:
        """The keys that are stored."""
        key = "if(event_type = 'click', toString(properties.s1), event_id)"
        counts = dict(_rows(client, f"SELECT {key} AS key, count() FROM events FINAL GROUP BY key"))
        distinct, *_ = _rows(client, "SELECT uniqExact(client_id, event_id) FROM events")
        assert distinct[0] == sum(counts.values()), f"{sum(counts.values())} rows of {distinct[0]} distinct events"
        stored = set(counts)
        _none(self.keys(Answer.ACKNOWLEDGED) - stored, "acknowledged, and lost", self)
        _none(self.keys(Answer.REFUSED) & stored, "refused, and stored all the same", self)
        _none((k for k, n in counts.items() if n > 1), "stored more than once", self)
        _none(stored - self._answers.keys(), "stored, and never sent", self)
        return stored

    def _verify_clicks(self, client: Client) -> None:
        found = _rows(client, "SELECT toString(properties.s1), click_id FROM clicks")
        in_events = _rows(
            client, "SELECT toString(properties.s1), event_id FROM events FINAL WHERE event_type = 'click'"
        )
        assert sorted(found) == sorted(in_events), "clicks and events differ"
        click_ids = dict(found)
        for key, click_id in self._click_ids.items():
            assert click_ids.get(key) == click_id, f"the visitor of {key} was given another click id"

    def _verify_conversions(self, client: Client, stored: set[str]) -> None:
        expected = {k: p for k, p in self._payments.items() if k in stored}
        reports = _rows(client, "SELECT event_id, conversion_key, currency, revenue FROM conversion_reports FINAL")
        assert sorted(reports) == sorted((k, *msgspec.structs.astuple(p)) for k, p in expected.items())
        by_key = {msgspec.structs.astuple(p) for p in expected.values()}
        conversions = _rows(client, "SELECT conversion_key, currency, revenue FROM conversions")
        assert sorted(conversions) == sorted(by_key)
        sums: Counter[str] = Counter()
        for _, currency, amount in by_key:
            sums[currency] += amount
        revenue = _rows(client, "SELECT currency, sum(revenue) FROM revenue_daily GROUP BY currency")
        assert dict(revenue) == dict(sums)
        refs = _rows(client, "SELECT conversion_key, count() FROM payment_refs FINAL GROUP BY conversion_key")
        assert dict(refs) == {key: 2 for key, _, _ in by_key}, "each payment has two references: session and intent"

    def _verify_traffic(self, client: Client, events: int) -> None:
        counted = _rows(client, "SELECT sum(events) FROM traffic_daily")[0][0] or 0
        assert abs(counted - events) <= max(2, events * 0.03), f"traffic: {counted} events, {events} are stored"


def _none(keys: Iterable[str], what: str, ledger: Ledger) -> None:
    found = list(keys)
    assert not found, f"{len(found)} {what}: {', '.join(found[:SHOWN])} … (of {ledger})"


def _rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(r) for r in client.query(sql).result_rows]
