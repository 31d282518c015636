"""`relo stripe trigger`: every supported type goes through the running product, in both shapes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from relo_ingest.stripe_tools.kinds import LATEST, SUPPORTED
from support.processes import Product, eventually

Relo = Callable[..., Any]
OLD = "2024-06-20"


def event_ids(lines: list[str]) -> list[str]:
    return [line.split()[2] for line in lines if line.startswith("[")]


@pytest.mark.parametrize("version", [OLD, LATEST])
@pytest.mark.parametrize("kind", SUPPORTED)
def test_each_type_is_stored(product: Product, relo: Relo, kind: str, version: str) -> None:
    done = relo("stripe", "trigger", kind, "--client", "demo", "--api-version", version)
    if kind == "invoice_payment.paid" and version == OLD:
        assert (done.code, done.out) == (1, [])
        assert "since API version 2025-03-31" in done.complaint
        return
    assert (done.code, done.complaint) == (0, "")
    assert done.out[0].split()[:2] == ["[1/1]", kind]
    assert done.out[0].endswith("  stored")
    assert done.out[1].startswith("1 sent: 1 stored, 0 ignored")


@pytest.mark.parametrize("version", [OLD, LATEST])
def test_story_comes_out_as_the_payments_it_tells(product: Product, relo: Relo, version: str) -> None:
    done = relo("stripe", "trigger", "--all", "--client", "demo", "--api-version", version)
    assert done.code == 0
    ids = event_ids(done.out)
    assert len(ids) == len(done.out) - 1 >= len(SUPPORTED) - 1
    assert all(line.endswith("  stored") for line in done.out[:-1])
    run = ids[0].removeprefix("evt_")[:26]
    told = [
        ("purchase", Decimal(15), 0, 0, True),
        ("purchase", Decimal(29), Decimal(9), 0, True),
        ("renewal", Decimal(49), 0, 0, True),
    ]
    sql = (
        "SELECT kind, revenue, refunded, charged_back, is_test FROM conversions "
        f"WHERE customer_ref = 'cus_{run}01' ORDER BY revenue"
    )
    eventually(lambda: product.rows(sql) == told, "the payments of the story")
    stored = f"SELECT uniqExact(event_id) FROM events WHERE event_id LIKE 'evt_{run}%' AND is_test"
    assert product.rows(stored) == [(len(ids),)]


def test_live_event_is_live_and_carries_the_click(product: Product, relo: Relo) -> None:
    click = product.http.get("/r?ref=ana").headers["location"].rpartition("click_id=")[2]
    done = relo("stripe", "trigger", "checkout.session.completed", "--client", "demo", "--live", "--click-id", click)
    (event_id,) = event_ids(done.out)
    found = product.eventually_rows("SELECT is_test, click_id FROM events WHERE event_id = {id:String}", id=event_id)
    assert found == [(False, click)]


def test_client_without_a_secret_for_the_mode_is_told_what_to_do(product: Product, relo: Relo) -> None:
    done = relo("stripe", "trigger", "invoice.paid", "--client", "dates", "--live")
    assert done.code == 1
    assert done.out[-1] == "  refused 1: no_live_secret; put one into force with `relo secret add --live`"
