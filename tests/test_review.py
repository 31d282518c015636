"""What an operator decides on commissions that are on hold."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from relo_ingest import review
from relo_ingest.clickhouse import migrate
from relo_ingest.explain.facts import Unknown
from relo_ingest.review import NotReviewable
from support.rows import CLIENT_ID, LONG_AGO, event, insert, line

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_keys = itertools.count(1)
REVIEWS = "SELECT partner_ref, approved, codes, note FROM reviews FINAL WHERE conversion_key = {key:String}"
STATUS = "SELECT partner_ref, status FROM commissions WHERE conversion_key = {key:String}"
ASKED_FOR = "SELECT count() FROM changes WHERE kind = 'payment' AND id = {key:String}"


@pytest.fixture(scope="module")
def client(clickhouse: Any) -> Iterator[Client]:
    client = clickhouse.connect(clickhouse.fresh_database())
    migrate.apply(client)
    body = {"client_id": CLIENT_ID, "slug": "shop", "name": "", "status": "active"}
    insert(client, "registry", {"kind": "client", "key": "shop", "version": 1, "body": str(body).replace("'", '"')})
    yield client
    client.close()


def sold(client: Client, *partners: str, amount: str = "10") -> str:
    """A sale with a commission for each of the partners; its key."""
    key = f"pi_{next(_keys)}"
    paid = {"event_type": "purchase", "event_name": "purchase", "conversion_key": key, "order_id": f"order-{key}"}
    insert(client, "events", event(key, LONG_AGO, revenue="100", currency="USD", properties={}, **paid))
    for partner in partners:
        insert(client, "ledger_lines", line(f"{key} {partner}", key, partner, amount))
    return key


def hold(client: Client, key: str, partner: str, *codes: str) -> None:
    whose = {"client_id": CLIENT_ID, "conversion_key": key, "partner_ref": partner}
    for code in codes:
        insert(client, "holds", whose | {"code": code, "evidence": "seen", "raised_at": LONG_AGO})


def decide(client: Client, key: str, verdict: str, partner: str = "", note: str = "", slug: str = "") -> str:
    return review.decide(client, key, approve=verdict == "approve", slug=slug, partner=partner, note=note)


def answer(client: Client, sql: str, key: str) -> list[tuple[Any, ...]]:
    return [tuple(r) for r in client.query(sql, parameters={"key": key}).result_rows]


def test_list_tells_amount_partner_reasons_and_age(client: Client) -> None:
    key = sold(client, "ana")
    hold(client, key, "ana", "self_referral", "fast_conversion")
    sold(client, "ana")
    told = list(review.listing(client, "shop"))
    at = next(
        n for n, told_line in enumerate(told) if told_line.startswith(f"{key}  shop  ana  10.00 USD  on hold for ")
    )
    days = (dt.datetime.now(dt.UTC) - LONG_AGO).days
    assert told[at].split("on hold for ")[1].startswith(f"{days} days")
    assert told[at + 1 : at + 3] == ["    fast_conversion: seen", "    self_referral: seen"]
    assert told == list(review.listing(client, "")), "of every client"


def test_approval_releases_what_is_on_hold(client: Client) -> None:
    key = sold(client, "ana")
    hold(client, key, "ana", "fast_conversion", "click_burst")
    assert answer(client, STATUS, key) == [("ana", "pending")]
    said = decide(client, f"order-{key}", "approve", note="called them", slug="shop")
    assert said == f"approved: 10.00 USD of ana on {key}; it was on hold for click_burst and fast_conversion"
    assert answer(client, REVIEWS, key) == [("ana", True, ["click_burst", "fast_conversion"], "called them")]
    assert answer(client, STATUS, key) == [("ana", "approved")]
    assert not any(key in told_line for told_line in review.listing(client, "shop"))


def test_a_decision_has_the_worker_look_at_the_sale(client: Client) -> None:
    key = sold(client, "ana")
    hold(client, key, "ana", "fast_conversion")
    ((before,),) = answer(client, ASKED_FOR, key)
    decide(client, key, "reject")
    assert answer(client, ASKED_FOR, key) == [(before + 1,)]
    assert answer(client, REVIEWS, key) == [("ana", False, ["fast_conversion"], "")]


def test_a_new_reason_opens_the_hold_again_and_older_ones_stay_decided(client: Client) -> None:
    key = sold(client, "ana")
    hold(client, key, "ana", "fast_conversion")
    decide(client, key, "approve")
    hold(client, key, "ana", "refund_rate")
    assert answer(client, STATUS, key) == [("ana", "pending")]
    assert decide(client, key, "approve").endswith("it was on hold for refund_rate")
    assert answer(client, REVIEWS, key) == [("ana", True, ["fast_conversion", "refund_rate"], "")]
    assert answer(client, STATUS, key) == [("ana", "approved")]


def test_any_commission_may_be_rejected(client: Client) -> None:
    key = sold(client, "ana")
    assert decide(client, key, "reject") == f"rejected: 10.00 USD of ana on {key}; the worker takes it back"
    assert answer(client, REVIEWS, key) == [("ana", False, [], "")]


def test_a_rejection_may_be_taken_back(client: Client) -> None:
    key = sold(client, "ana")
    decide(client, key, "reject")
    assert decide(client, key, "approve").startswith("approved: ")
    assert answer(client, REVIEWS, key) == [("ana", True, [], "")]


def test_approval_of_what_is_not_on_hold_is_refused(client: Client) -> None:
    key = sold(client, "ana")
    with pytest.raises(NotReviewable, match=f"^{key}: nothing is on hold$"):
        decide(client, key, "approve")
    assert answer(client, REVIEWS, key) == []


def test_rejection_needs_a_commission(client: Client) -> None:
    key = sold(client)
    with pytest.raises(NotReviewable, match="there is no commission"):
        decide(client, key, "reject")
    with pytest.raises(NotReviewable, match="there is no commission for luis"):
        decide(client, sold(client, "ana"), "reject", "luis")


def test_of_several_partners_one_is_named(client: Client) -> None:
    key = sold(client, "ana", "luis")
    with pytest.raises(NotReviewable, match="name one with --partner: ana or luis"):
        decide(client, key, "reject")
    decide(client, key, "reject", "luis")
    assert answer(client, REVIEWS, key) == [("luis", False, [], "")]
    hold(client, key, "ana", "fast_conversion")
    assert "of ana" in decide(client, key, "approve", "ana")


def test_unknown_sales_and_clients_are_named(client: Client) -> None:
    with pytest.raises(Unknown, match="no payment of client shop is known by nothing"):
        decide(client, "nothing", "approve", slug="shop")
    with pytest.raises(Unknown, match="there is no client nobody"):
        decide(client, sold(client, "ana"), "reject", slug="nobody")


def test_a_note_has_an_end(client: Client) -> None:
    with pytest.raises(NotReviewable, match="at most 1000 characters"):
        decide(client, "any", "reject", note="x" * 1001)


def test_what_is_left_is_told_by_currency() -> None:
    told = review.AtStake("ana", [], [], False, [("EUR", Decimal("1.5")), ("JPY", Decimal(20))])
    assert told.left() == "1.50 EUR and 20 JPY"
