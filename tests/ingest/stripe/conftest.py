"""Webhooks to the running product, and what becomes of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from support.processes import Product, eventually
from support.stripe_events import signed

EVENT = (
    "SELECT * EXCEPT properties, toJSONString(properties) AS properties FROM events FINAL WHERE event_id = {id:String}"
)


class Shop:
    """The client `demo` of the running product, as Stripe sees it."""

    def __init__(self, product: Product) -> None:
        self.product = product

    def post(self, event: Any) -> Any:
        """The answer's body, of a webhook that is taken."""
        response = self.product.http.post("/postback/stripe/demo", **signed(event))
        assert response.status_code == 200, response.text
        return response.json()

    def send(self, *events: dict[str, Any]) -> dict[str, Any]:
        """Each is stored; the row of the last one, by column."""
        return self.rows(*events)[-1]

    def rows(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Each is stored; their rows, in this order."""
        for event in events:
            assert self.post(event) == {"received": True, "stored": True}
        return [self.row(event["id"]) for event in events]

    def row(self, event_id: str) -> dict[str, Any]:
        self.product.eventually_rows(EVENT, id=event_id)
        answer = self.product.clickhouse.query(EVENT, parameters={"id": event_id})
        (values,) = answer.result_rows
        row = dict(zip(answer.column_names, values, strict=True))
        row["properties"] = msgspec.json.decode(row["properties"])
        return row

    def view(self, name: str, **where: str) -> list[dict[str, Any]]:
        """Rows of a view by the values of columns, once there are any: views are filled a moment after `events`."""
        found: list[dict[str, Any]] = eventually(lambda: self.now(name, **where), f"{name} has {where}")
        return found

    def now(self, name: str, **where: str) -> list[dict[str, Any]]:
        """The same without waiting."""
        condition = " AND ".join(f"{column} = {{{column}:String}}" for column in where)
        answer = self.product.clickhouse.query(f"SELECT * FROM {name} WHERE {condition}", parameters=where)
        return [dict(zip(answer.column_names, r, strict=True)) for r in answer.result_rows]

    def conversion(self, key: str) -> dict[str, Any]:
        """The one conversion of a key."""
        (found,) = self.view("conversions", conversion_key=key)
        return found

    def money(self, key: str) -> tuple[Decimal, Decimal, Decimal]:
        """(revenue, refunded, charged back) of one conversion."""
        found = self.conversion(key)
        return found["revenue"], found["refunded"], found["charged_back"]

    def counted(self, outcome: str) -> float:
        """Requests that ended so, as /metrics says."""
        for line in self.product.http.get("/metrics").text.splitlines():
            if line.startswith("relo_requests_total") and f'outcome="{outcome}"' in line:
                return float(line.rpartition(" ")[2])
        return 0.0

    def counts_one_more(self, outcome: str, event: Any) -> Any:
        before = self.counted(outcome)
        answer = self.post(event)
        eventually(lambda: self.counted(outcome) == before + 1, f"one more {outcome}")
        return answer


@pytest.fixture(scope="session")
def shop(product: Product) -> Shop:
    return Shop(product)
