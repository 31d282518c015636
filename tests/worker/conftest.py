"""Stories for the worker: a client of the test's own, its registry, and rows straight into `events`."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from relo_ingest.clickhouse import migrate
from relo_ingest.clickhouse.client import INSERT_SETTINGS
from relo_ingest.registry import apply, model
from relo_ingest.registry.secrets import Keyring
from relo_ingest.worker.loop import Worker

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEYS = Keyring(Fernet.generate_key().decode())
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
_client_ids = itertools.count(100)

ATTRIBUTIONS = """
SELECT conversion_key, method, partner_ref, offer, click_id, order_id, payment, toJSONString(reason), attributed_at
FROM attributions WHERE client_id = {client:UInt32} ORDER BY conversion_key
"""
LEDGER = """
SELECT conversion_key, entry_id, kind, partner_ref, amount, currency, rule, hold_until, toJSONString(reason), created_at
FROM ledger WHERE client_id = {client:UInt32} ORDER BY conversion_key, entry_id
"""


def days(n: float) -> dt.timedelta:
    return dt.timedelta(days=n)


class Row(dict[str, Any]):
    """A row of an answer, by column; ``row.method`` is ``row["method"]``."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Story:
    """One client. The clock of a story is days from now: ``at=-3`` is three days ago."""

    def __init__(self, client: Client, worker: Worker, *partners: str) -> None:
        self.client, self.worker = client, worker
        self.client_id = next(_client_ids)
        self.slug = f"c{self.client_id}"
        self._event_ids = itertools.count(1)
        self.declare(
            clients=[{"client_id": self.client_id, "slug": self.slug}],
            offers=[self.of_client(slug="main", landing_page="https://x.test/")],
            partners=[self.of_client(ref=self.ref(n), offers=["main"]) for n in partners],
        )

    def of_client(self, **fields: Any) -> dict[str, Any]:
        return {"client": self.slug, **fields}

    def declare(self, **tables: list[dict[str, Any]]) -> None:
        """Apply registry tables as `relo apply` does."""
        declaration = model.parse(tables, "test")
        apply.write(self.client, apply.changes(declaration, apply.current(self.client), KEYS))

    def ref(self, name: str) -> str:
        """Refs are unique on the platform, the names of a story only within it."""
        return f"{name}-{self.client_id}"

    def partner(self, *names: str, status: str = "active", offers: tuple[str, ...] = ("main",)) -> None:
        self.declare(
            partners=[self.of_client(ref=self.ref(n), offers=list(offers), status=status) for n in names],
        )

    def rule(self, name: str, basis_points: int | None, partner: str = "", offer: str = "main", **fields: Any) -> None:
        whose = {"partner": self.ref(partner)} if partner else {}
        share = {} if basis_points is None else {"basis_points": basis_points}
        self.declare(commission_rules=[self.of_client(name=name, offer=offer, **share, **whose, **fields)])

    def insert(self, *events: dict[str, Any]) -> None:
        """Rows of `events`, in one batch."""
        always = {"client_id": self.client_id, "event_time": NOW, "received_at": NOW}
        rows = [{"event_id": f"e{next(self._event_ids)}", **always, **e} for e in events]
        names = list(dict.fromkeys(name for row in rows for name in row))
        empty = {"revenue": 0, "is_test": False, "refs": [], "properties": {}}
        self.client.insert(
            "events",
            [[row.get(name, empty.get(name, "")) for name in names] for row in rows],
            column_names=names,
            settings=INSERT_SETTINGS,
        )

    @staticmethod
    def time(at: float | dt.datetime) -> dt.datetime:
        return at if isinstance(at, dt.datetime) else NOW + days(at)

    def click(self, click_id: str, partner: str, at: float | dt.datetime, offer: str = "main") -> None:
        self.insert(self.a_click(click_id, partner, at, offer))

    def a_click(self, click_id: str, partner: str, at: float | dt.datetime, offer: str = "main") -> dict[str, Any]:
        return {
            "event_id": click_id,
            "event_type": "click",
            "event_time": self.time(at),
            "click_id": click_id,
            "partner_ref": self.ref(partner),
            "offer": offer,
        }

    def seen(self, device: str, *, click: str = "", email: str = "", at: float = -1) -> None:
        """A beacon: the pixel's device, with the click id or browser id of its cookie and an e-mail hash."""
        self.insert(self.a_beacon(device, click=click, email=email, at=at))

    def a_beacon(self, device: str, *, click: str = "", email: str = "", at: float = -1) -> dict[str, Any]:
        return {
            "event_type": "custom",
            "event_name": "page",
            "event_time": self.time(at),
            "device_id": device,
            "click_id": click,
            "email_hash": email,
        }

    def pay(self, key: str, at: float | dt.datetime = 0, revenue: str = "20.00", **fields: Any) -> None:
        self.insert(self.a_payment(key, at, revenue, **fields))

    def a_payment(self, key: str, at: float | dt.datetime = 0, revenue: str = "20.00", **fields: Any) -> dict[str, Any]:
        return {
            "event_type": "purchase",
            "event_name": "purchase",
            "channel": "stripe",
            "media_source": "stripe",
            "event_time": self.time(at),
            "conversion_key": key,
            "order_id": f"order-{key}",
            "revenue": revenue,
            "currency": "USD",
            **fields,
        }

    def a_refund(self, key: str, amount: str, at: float | dt.datetime = 0, **fields: Any) -> dict[str, Any]:
        number = next(self._event_ids)
        properties = {"refund": f"re_{number}", "amount": amount, "status": "succeeded"}
        return {
            "event_type": "refund",
            "event_name": "refund",
            "event_time": self.time(at),
            "refs": [key, f"re_{number}"],
            "currency": "USD",
            "properties": properties | {"created": int(self.time(at).timestamp())},
            **fields,
        }

    def a_dispute(self, key: str, amount: str, happened: str = "chargeback", at: float = 0) -> dict[str, Any]:
        """``happened``: chargeback (the money was withdrawn) or chargeback_reversed (it came back)."""
        return {
            "event_type": "chargeback",
            "event_name": happened,
            "event_time": self.time(at),
            "refs": [key, f"dp_{key}"],
            "currency": "USD",
            "properties": {"dispute": f"dp_{key}", "amount": amount, "status": "needs_response"},
        }

    def settle(self) -> None:
        """One round of the worker."""
        self.worker.round()

    def _rows(self, sql: str) -> list[Row]:
        answer = self.client.query(sql, parameters={"client": self.client_id})
        found = [Row(zip(answer.column_names, r, strict=True)) for r in answer.result_rows]
        for row in found:
            reason = next(n for n in row if "reason" in n)
            row["reason"] = msgspec.json.decode(row.pop(reason))
        return found

    def attributions(self) -> dict[str, Row]:
        return {r.conversion_key: r for r in self._rows(ATTRIBUTIONS)}

    def ledger(self) -> list[Row]:
        return self._rows(LEDGER)

    def lines(self) -> list[tuple[str, str, str, Decimal]]:
        """(key, partner's name, kind, amount) of each entry, in the order in which they were made."""
        entries = sorted(self.ledger(), key=lambda e: (e.created_at, e.conversion_key, e.partner_ref, e.kind))
        return [(e.conversion_key, e.partner_ref.rpartition("-")[0], e.kind, e.amount) for e in entries]

    def sums(self) -> dict[tuple[str, str], Decimal]:
        """What the entries of each conversion and partner add up to."""
        found: dict[tuple[str, str], Decimal] = {}
        for key, partner, _, amount in self.lines():
            found[key, partner] = found.get((key, partner), Decimal(0)) + amount
        return found

    def winners(self) -> dict[str, tuple[str, str, str]]:
        """(method, click_id, partner's name) of each conversion, after a round."""
        self.settle()
        return {key: (a.method, a.click_id, a.partner_ref.rpartition("-")[0]) for key, a in self.attributions().items()}

    def results(self) -> tuple[list[Row], list[Row]]:
        """Both tables, whole."""
        return self._rows(ATTRIBUTIONS), self._rows(LEDGER)


@pytest.fixture(scope="module")
def engine(clickhouse: Any) -> Iterator[Client]:
    client = clickhouse.connect()
    migrate.apply(client)
    yield client
    client.close()


@pytest.fixture(scope="module")
def worker(engine: Client) -> Worker:
    """One that goes on from test to test, and so only looks at what is new."""
    return Worker(engine)


@pytest.fixture
def story(engine: Client, worker: Worker) -> Story:
    """A client with the offer ``main`` (60 days) and the partners ana, bo and cy."""
    return Story(engine, worker, "ana", "bo", "cy")


@pytest.fixture
def another_story(engine: Client, worker: Worker) -> Story:
    return Story(engine, worker, "ana")
