"""The reports on a small world whose figures are computed by hand. Every row is inserted twice: it counts once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from relo_ingest.clickhouse import migrate
from support.rows import CLIENT_ID, FAR, LONG_AGO, click, event, insert, line, sale, touch

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ONE, TWO, OTHER = CLIENT_ID, 8, 9
"""Clients: the world, its funnel, and a stranger with the same ids."""
DAY = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
NEXT = DAY + dt.timedelta(days=1)
FIGURES = """clicks, repeats, devices, leads, trials, sales, renewals, revenue, refunds, commission_pending, commission_approved,
    commission_reversed, epc, conversion_rate"""


def at(hours: float, day: dt.datetime = DAY) -> dt.datetime:
    return day + dt.timedelta(hours=hours)


def seen(event_id: str, device: str, click_id: str, time: dt.datetime) -> dict[str, Any]:
    return event(event_id, time, event_type="custom", event_name="page", device_id=device, click_id=click_id)


@pytest.fixture(scope="module")
def world(clickhouse: Any) -> Iterator[Client]:
    client = clickhouse.connect(clickhouse.fresh_database())
    migrate.apply(client)
    client.command("SYSTEM STOP MERGES")
    insert(
        client,
        "events",
        click("k1", "ana", at(9), properties={"s1": "news", "s2": "a"}),
        click("k2", "ana", at(10), properties={"s1": "news", "s2": "b"}),
        click("k3", "ana", at(10), is_bot=True, bot_reason="crawler"),
        click("k4", "luis", at(11), properties={"s1": "news"}, device_id="d4"),
        click("k6", "luis", at(11), properties={"s1": "news", "_relo_repeat": "true"}, device_id="d4"),
        click("k5", "ana", at(1, NEXT), "other"),
        click("k1", "ana", at(9), client_id=OTHER),
        seen("e1", "d1", "k1", at(9)),
        seen("e2", "d1", "k2", at(10)),
        seen("e3", "d5", "k4", at(11)),
    )
    touches = [touch(at(9), "k1", "ana", "click_id"), touch(at(11), "k4", "luis", "device")]
    insert(
        client,
        "attribution_rows",
        sale("c1", at(12), "ana", "100", click_id="k1", touches=touches),
        sale("c2", at(13), "ana", "50", "EUR", click_id="k2", refunded="20"),
        sale("c3", at(13), "ana", "0", click_id="k1", payment="lead"),
        sale("c4", at(2, NEXT), "ana", "100", method="customer", payment="renewal"),
        sale("c5", at(14), "ana", "40", click_id="k1"),
        sale("c6", at(14), "", "70", method="none", offer=""),
        sale("c7", at(14), "ana", "80", click_id="k1", gone=True, touches=touches),
        sale("c8", at(15), "luis", "1000", "JPY", click_id="k4"),
        sale("c9", at(16), "luis", "10", click_id="k4"),
        sale("c0", at(16), "ana", "0", click_id="k1", payment="trial"),
    )
    insert(
        client,
        "ledger_lines",
        line("1", "c1", "ana", "10", hold_until=FAR),
        line("2", "c2", "ana", "5", "EUR"),
        line("3", "c2", "ana", "-2", "EUR", part="reversed", kind="reversal"),
        line("4", "c3", "ana", "3"),
        line("5", "c4", "ana", "10", hold_until=FAR),
        line("6", "c5", "ana", "4"),
        line("7", "c5", "ana", "-4", kind="reversal"),
        line("8", "c8", "luis", "0.62", "EUR"),
        line("9", "c9", "ana", "1"),
        line("10", "c9", "ana", "-1", kind="adjustment"),
        line("11", "c9", "luis", "1.5"),
    )
    whose = {"client_id": ONE, "conversion_key": "c5", "partner_ref": "ana"}
    insert(client, "reviews", whose | {"approved": False, "codes": ["fast_conversion"], "reviewed_at": LONG_AGO})
    insert(client, "holds", {"client_id": ONE, "conversion_key": "c8", "partner_ref": "luis", "code": "click_burst"})
    yield client
    client.close()


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(r) for r in client.query(sql).result_rows]


ANA = (2, 0, 1, 1, 1, 3, 0, {"USD": Decimal(140), "EUR": Decimal(50)}, {"EUR": Decimal(20)}, {"USD": Decimal(10)},
       {"USD": Decimal(3), "EUR": Decimal(3)}, {"EUR": Decimal(2), "USD": Decimal(4)},
       {"USD": Decimal("6.5"), "EUR": Decimal("1.5")}, 1.5)  # fmt: skip
"""c1, c2, c5 are sales, c3 a lead, c0 a trial. (10 + 3) USD and 3 EUR by two clicks of one device; three sales."""
LUIS = (1, 1, 1, 0, 0, 2, 0, {"JPY": Decimal(1000), "USD": Decimal(10)}, {}, {"EUR": Decimal("0.62")},
        {"USD": Decimal("1.5")}, {}, {"EUR": Decimal("0.62"), "USD": Decimal("1.5")}, 2.0)  # fmt: skip
"""k6 repeats k4. What c8 earned is past its date and on hold. c9 was Ana's once: nothing of that is left."""
RENEWAL = (0, 0, 0, 0, 0, 0, 1, {"USD": Decimal(100)}, {}, {"USD": Decimal(10)}, {}, {}, {}, 0.0)
"""Nobody clicked: there is no such thing as earnings per click."""


def test_every_row_is_there_twice(world: Client) -> None:
    for table in ("click_rows", "attribution_rows", "ledger_lines", "reviews", "holds"):
        ((raw, once),) = rows(world, f"SELECT count(), (SELECT count() FROM {table} FINAL) FROM {table}")
        assert raw == 2 * once > 0, table


def test_partner_daily(world: Client) -> None:
    found = rows(world, f"SELECT day, partner_ref, {FIGURES} FROM partner_daily WHERE client_id = {ONE} ORDER BY ALL")
    next_day = (1, 0, 0, *RENEWAL[3:12], {"USD": Decimal(10)}, 0.0)
    assert found == [(DAY.date(), "ana", *ANA), (DAY.date(), "luis", *LUIS), (NEXT.date(), "ana", *next_day)]


def test_offer_daily(world: Client) -> None:
    found = {
        r[:2]: r[2:] for r in rows(world, f"SELECT day, offer, {FIGURES} FROM offer_daily WHERE client_id = {ONE}")
    }
    day = found[DAY.date(), "main"]
    assert day[:7] == (3, 1, 2, 1, 1, 5, 0), "clicks, repeats, devices, leads, trials, sales, renewals of both partners"
    assert day[7] == {"USD": Decimal(150), "EUR": Decimal(50), "JPY": Decimal(1000)}
    assert day[12] == {"USD": Decimal("4.8333"), "EUR": Decimal("1.2066")}, "14.50 USD and 3.62 EUR by three clicks"
    assert found[NEXT.date(), "main"] == RENEWAL
    assert found[NEXT.date(), "other"] == (1, 0, 0, 0, 0, 0, 0, {}, {}, {}, {}, {}, {}, 0.0)
    assert len(found) == 3


def test_sub_id_daily(world: Client) -> None:
    columns = "sub_id, value, clicks, devices, sales, leads, revenue, commission_approved"
    found = rows(
        world, f"SELECT {columns} FROM sub_id_daily WHERE client_id = {ONE} AND partner_ref = 'ana' ORDER BY ALL"
    )
    usd, eur = {"USD": Decimal(140)}, {"EUR": Decimal(50)}
    assert found == [
        ("s1", "news", 2, 1, 3, 1, usd | eur, {"USD": Decimal(3), "EUR": Decimal(3)}),
        ("s2", "a", 1, 1, 2, 1, usd, {"USD": Decimal(3)}),
        ("s2", "b", 1, 1, 1, 0, eur, {"EUR": Decimal(3)}),
    ]


def test_a_click_without_sub_ids_is_in_no_row_of_them(world: Client) -> None:
    assert rows(world, f"SELECT count() FROM sub_id_daily WHERE client_id = {ONE} AND offer = 'other'") == [(0,)]


def test_attribution_models_share_the_sale_among_its_touches(world: Client) -> None:
    columns = "click_id, last_click, first_click, linear, position_based, round(time_decay, 6)"
    found = rows(world, f"SELECT {columns} FROM attribution_models WHERE client_id = {ONE} ORDER BY position")
    # 3 and 1 hours before the sale, of 168 to a half: 2^(-3/168) and 2^(-1/168)
    assert found == [("k1", 0.0, 1.0, 0.5, 0.5, 0.497937), ("k4", 1.0, 0.0, 0.5, 0.5, 0.502063)]


@pytest.mark.parametrize(
    ("days_before", "position_based", "time_decay"),
    [
        ([3], [1.0], [1.0]),
        ([7, 0], [0.5, 0.5], [1 / 3, 2 / 3]),
        ([14, 7, 0], [0.4, 0.2, 0.4], [1 / 7, 2 / 7, 4 / 7]),
        ([21, 14, 7, 0], [0.4, 0.1, 0.1, 0.4], [1 / 15, 2 / 15, 4 / 15, 8 / 15]),
        ([3000, 0], [0.5, 0.5], [0.0, 1.0]),
    ],
)
def test_models_by_number_of_touches(
    world: Client, days_before: list[int], position_based: list[float], time_decay: list[float]
) -> None:
    client_id = 100 + len(days_before) + max(days_before)
    path = [touch(DAY - dt.timedelta(days=d), f"k{n}", "ana", "device") for n, d in enumerate(days_before)]
    insert(world, "attribution_rows", sale("c", DAY, "ana", "10", client_id=client_id, touches=path[::-1]))
    columns = "click_id, linear, position_based, time_decay"
    found = rows(world, f"SELECT {columns} FROM attribution_models WHERE client_id = {client_id} ORDER BY position")
    n = len(path)
    assert [r[0] for r in found] == [t["click_id"] for t in path], (
        "in the order of the clicks, however they were written"
    )
    assert [r[1] for r in found] == pytest.approx([1 / n] * n)
    assert [r[2] for r in found] == pytest.approx(position_based)
    assert [r[3] for r in found] == pytest.approx(time_decay, abs=1e-9)


def steps(device: str, *what: tuple[str, float], **fields: Any) -> list[dict[str, Any]]:
    return [
        event(f"{device}-{n}", at(hour), TWO, event_type="custom", event_name=name, device_id=device, **fields)
        for n, (name, hour) in enumerate(what)
    ]


def test_funnel_daily_counts_devices_by_how_far_they_came_in_order(world: Client) -> None:
    full = [("page", 1.0), ("view_product", 2.0), ("add_to_cart", 3.0), ("begin_checkout", 4.0)]
    paid: dict[str, Any] = {"event_type": "purchase", "event_name": "purchase", "properties": {}}
    insert(
        world,
        "events",
        *steps("whole", *full),
        *steps("by-click", *full, click_id="k9"),
        *steps("by-email", *full, email_hash="h9"),
        *steps("no-payment", *full),
        *steps("cart-first", ("page", 1), ("add_to_cart", 2), ("view_product", 3)),
        *steps("after-midnight", ("page", 23.5), ("view_product", 24.5), ("page", 25)),
        *steps("too-late", ("page", 1), ("view_product", 26)),
        *steps("no-page", ("view_product", 5)),
        *steps("crawler", *full, is_bot=True),
        event("p1", at(5), TWO, device_id="whole", conversion_key="1", **paid),
        event("p2", at(5), TWO, click_id="k9", conversion_key="2", **paid),
        event("p3", at(5), TWO, email_hash="h9", conversion_key="3", **paid),
        event("p4", at(5), TWO, device_id="no-payment", conversion_key="4", is_test=True, **paid),
    )
    found = rows(world, f"SELECT * EXCEPT (client_id) FROM funnel_daily WHERE client_id = {TWO} ORDER BY day")
    assert found == [(DAY.date(), 7, 6, 4, 4, 3), (NEXT.date(), 1, 0, 0, 0, 0)]


def test_reports_of_one_day_and_client_are_those_of_all(world: Client) -> None:
    """A filter reaches the inside of a view; what it finds must not change by that."""
    for view in ("partner_daily", "offer_daily", "sub_id_daily", "funnel_daily"):
        whole = [r for r in rows(world, f"SELECT * FROM {view} ORDER BY ALL") if r[:2] == (ONE, DAY.date())]
        assert rows(world, f"SELECT * FROM {view} WHERE client_id = {ONE} AND day = '{DAY:%F}' ORDER BY ALL") == whole
    assert rows(world, f"SELECT clicks FROM partner_daily WHERE client_id = {OTHER}") == [(1,)]
