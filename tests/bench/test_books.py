"""The books of the load: each way in which ClickHouse may differ from what was promised is noticed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bench.traffic.books import Books, Rows, differences
from bench.traffic.requests import Sale, earned

SALE = Sale("pi_1", "USD", Decimal("49.90"), "luis", Decimal("7.48"))
FREE = Sale("pi_2", "JPY", Decimal("1"), "luis", Decimal("0"))


def books() -> Books:
    found = Books("run")
    found.note_sent(["page", "click", "evt_1", "evt_1", "evt_2", "unanswered"])
    found.acknowledged = {"page", "click", "evt_1", "evt_2"}
    found.clicks = {"click": ("01CLICK", "luis")}
    found.sales = {"evt_1": SALE, "evt_2": FREE}
    return found


def rows() -> dict[str, Rows]:
    """What ClickHouse should say."""
    return {
        "stored": [("page", 1, 1), ("click", 1, 1), ("evt_1", 2, 1), ("evt_2", 1, 1)],
        "clicks": [("click", "01CLICK", "luis")],
        "conversions": [("pi_1", "USD", Decimal("49.9000")), ("pi_2", "JPY", Decimal("1.0000"))],
        "attributions": [("pi_1", "luis", "click_id"), ("pi_2", "luis", "click_id")],
        "ledger": [("pi_1", "luis", "USD", Decimal("7.4800"))],
    }


def test_books_that_agree_have_no_complaint() -> None:
    assert list(differences(books(), **rows())) == []


def test_what_was_sent_and_never_answered_may_be_there() -> None:
    there = rows()
    there["stored"].append(("unanswered", 1, 1))
    assert list(differences(books(), **there)) == []


@pytest.mark.parametrize(
    ("table", "wrong", "complaint"),
    [
        ("stored", [("click", 1, 1), ("evt_1", 2, 1), ("evt_2", 1, 1)], "1 acknowledged, and not in events: page"),
        ("stored", [*rows()["stored"], ("stranger", 1, 1)], "1 in events, and never sent: stranger"),
        ("stored", [("page", 2, 1), *rows()["stored"][1:]], "1 in events more often than it was sent: page"),
        ("stored", [*rows()["stored"][:1], ("click", 1, 2), *rows()["stored"][2:]],
         "1 in events more often than it was sent: click"),
        ("clicks", [], "click click: expected 01CLICK luis, found nothing"),
        ("clicks", [("click", "01CLICK", "ana")], "click click: expected 01CLICK luis, found 01CLICK ana"),
        ("conversions", rows()["conversions"][1:], "payment pi_1: expected USD 49.90, found nothing"),
        ("conversions", [*rows()["conversions"], rows()["conversions"][0]], "1 counted twice as a conversion: pi_1"),
        ("attributions", [("pi_1", "luis", "device"), rows()["attributions"][1]],
         "attribution pi_1: expected luis click_id, found luis device"),
        ("ledger", [], "commission pi_1: expected luis USD 7.48, found nothing"),
        ("ledger", [("pi_1", "luis", "USD", Decimal("14.96"))],
         "commission pi_1: expected luis USD 7.48, found luis USD 14.96"),
        ("ledger", [*rows()["ledger"], ("pi_2", "luis", "JPY", Decimal(1))],
         "commission pi_2: expected nothing, found luis JPY 1"),
    ],
    ids=["lost", "never sent", "doubled", "two ids", "click lost", "click of another", "payment lost", "payment doubled",
         "method", "commission lost", "commission doubled", "commission for nothing"],
)  # fmt: skip
def test_what_differs_is_named(table: str, wrong: Rows, complaint: str) -> None:
    assert list(differences(books(), **rows() | {table: wrong})) == [complaint]


@pytest.mark.parametrize(
    ("minor", "currency", "basis_points", "commission"),
    [
        (4990, "usd", 1500, "7.48"),  # 7.485 to the even
        (5010, "eur", 1500, "7.52"),  # 7.515 to the even
        (5, "jpy", 1000, "0"),  # 0.5
        (15, "jpy", 1000, "2"),  # 1.5
        (1, "mxn", 1000, "0.00"),
    ],
)
def test_commissions_are_rounded_half_even(minor: int, currency: str, basis_points: int, commission: str) -> None:
    assert str(earned(minor, currency, basis_points)[1]) == commission
