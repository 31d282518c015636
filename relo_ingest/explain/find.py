"""Which payments an id may mean."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.explain import words
from relo_ingest.explain.facts import Unknown, ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

CLIENT_ID = "SELECT client_id FROM clients WHERE slug = {slug:String}"


class Found(msgspec.Struct, frozen=True):
    """A payment that an id may mean; ``at`` in Unix ms."""

    client_id: int
    slug: str
    conversion_key: str
    at: int
    amount: Decimal
    currency: str
    is_paid: bool
    partner_ref: str
    method: str


def client_id(clickhouse: ClickHouseClient, slug: str) -> int:
    """Raises Unknown."""
    rows = clickhouse.query(CLIENT_ID, parameters={"slug": slug}).result_rows
    if not rows:
        raise Unknown(f"there is no client {slug}")
    return int(rows[0][0])


def payments(clickhouse: ClickHouseClient, name: str, slug: str = "") -> list[Found]:
    """The payments that ``name`` may mean, in the order in which they were made.

    ``name``: a conversion key, an order id, any id of the payment system (charge, payment intent, invoice), a
    subscription, a customer. Raises Unknown.
    """
    parameters = {"id": name, "client_id": client_id(clickhouse, slug) if slug else 0}
    found = ask(clickhouse, "find", Found, parameters)
    paid = [f for f in found if f.is_paid]
    if found and not paid:
        raise Unknown(f"{name} was named by a refund or dispute, and no payment has come in for it yet")
    if not paid:
        where = f"client {slug}" if slug else "any client"
        raise Unknown(f"no payment of {where} is known by {name}; expected a conversion key, an order id, or an id of "
                      "the payment system such as pi_…, ch_…, in_…, sub_…")  # fmt: skip
    return paid


def choices(name: str, found: list[Found]) -> Iterator[str]:
    """Several payments: a line each, to ask for one of them."""
    yield f"{name} is known by {len(found)} payments; ask for one of them:"
    for f in found:
        whose = "not looked at yet" if not f.method else "nobody's" if f.method == "none" else f.partner_ref
        amount = words.money(f.amount, f.currency)
        yield f"  {words.when(f.at)}  {amount:>16}  {whose:<16}  {f.slug}  {f.conversion_key}"
