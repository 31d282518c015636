"""`relo stripe reconcile`: what Stripe has and never arrived is said, taken in once, and then no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from relo_ingest.stripe_tools import reconcile as reconciling
from relo_ingest.stripe_tools.kinds import LATEST, SUPPORTED
from relo_ingest.stripe_tools.samples import Story
from support.processes import Product
from support.stripe_api import StripeApi
from support.stripe_events import checkout_completed, signed

Relo = Callable[..., Any]
RECONCILE = ("stripe", "reconcile", "--client", "demo")
DAY = 86_400
ARRIVED = "SELECT 1 FROM (SELECT uniqExact(event_id) AS n FROM events WHERE event_id IN {ids:Array(String)}) WHERE n = {n:Int32}"


def table(lines: list[str]) -> dict[str, list[int]]:
    """Numbers by type, of the last table."""
    start = max(n for n, line in enumerate(lines) if line.startswith("type "))
    cells = [line.split() for line in lines[start + 1 :] if line.split()[0] in (*SUPPORTED, "all")]
    return {name: [int(n) for n in numbers] for name, *numbers in cells}


def named(lines: list[str]) -> list[str]:
    return [line.split("  ")[2] for line in lines if line.startswith("missing: ")]


def test_missing_events_are_said_taken_in_and_then_there(product: Product, relo: Relo, stripe_api: StripeApi) -> None:
    now = int(time.time())
    events = [checkout_completed(created=now - 29 * DAY + n * 1000, livemode=False) for n in range(230)]
    old = checkout_completed(created=now - 31 * DAY, livemode=False)
    stripe_api.events = [*events, old, checkout_completed() | {"type": "payout.paid"}]
    missing = events[::40]
    for event in events:
        if event not in missing:
            assert product.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    there = len(events) - len(missing)
    product.eventually_rows(ARRIVED, ids=[e["id"] for e in events], n=there)

    dry = relo(*RECONCILE, "--dry-run")
    assert (dry.code, dry.complaint) == (0, "")
    assert sorted(named(dry.out)) == sorted(e["id"] for e in missing)
    assert table(dry.out) == {k: [230, there, len(missing)] for k in ("checkout.session.completed", "all")}
    listings = [given for method, path, given in stripe_api.requests if path == "/v1/events"]
    assert len(listings) == 3, "pages of 100"
    assert [len([k for k in g if k.startswith("types[")]) for g in listings] == [len(SUPPORTED)] * 3

    done = relo(*RECONCILE)
    assert done.code == 0
    assert table(done.out)["all"] == [230, there, len(missing), len(missing)]
    assert done.out[-1].startswith(f"{len(missing)} sent: {len(missing)} stored")
    product.eventually_rows(ARRIVED, ids=[e["id"] for e in events], n=230)
    again = relo(*RECONCILE)
    assert table(again.out)["all"] == [230, 230, 0, 0]
    assert named(again.out) == []
    assert product.rows("SELECT count() FROM events WHERE event_id = {id:String}", id=old["id"]) == [(0,)]


def test_event_of_another_client_is_missing_all_the_same(product: Product, relo: Relo, stripe_api: StripeApi) -> None:
    event = checkout_completed(livemode=False)
    assert product.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    product.eventually_rows("SELECT 1 FROM events WHERE event_id = {id:String}", id=event["id"])
    stripe_api.events = [event]
    done = relo("stripe", "reconcile", "--client", "bare", "--since", "12h", "--dry-run")
    assert named(done.out) == [event["id"]]


def test_every_supported_type_is_taken_in(product: Product, relo: Relo, stripe_api: StripeApi) -> None:
    stripe_api.events = list(Story("RECONCILE", int(time.time()) - 60, LATEST).all())
    done = relo(*RECONCILE, "--since", "1h")
    found = table(done.out)
    assert set(found) == {*SUPPORTED, "all"}
    assert all(n[2] == n[3] == n[0] for n in found.values())


def test_nothing_at_stripe_is_said(product: Product, relo: Relo, stripe_api: StripeApi) -> None:
    done = relo(*RECONCILE)
    assert done.code == 0
    assert table(done.out) == {"all": [0, 0, 0, 0]}


def test_refused_events_make_it_1_and_long_lists_are_cut(
    product: Product, relo: Relo, stripe_api: StripeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "NAMED", 2)
    bad = [checkout_completed(livemode=False) for _ in range(3)]
    for event in bad:
        event["data"]["object"] = {"id": "hunter2"}
    stripe_api.events = bad
    done = relo(*RECONCILE, "--since", "1h")
    assert done.code == 1
    assert len(named(done.out)) == 2
    assert "… and 1 more" in done.out
    assert "  refused 3: invalid_payload" in done.out
    assert "hunter2" not in "\n".join(done.out)


def test_rate_limit_in_the_middle_is_waited_for(product: Product, relo: Relo, stripe_api: StripeApi) -> None:
    stripe_api.events = [checkout_completed(livemode=False) for _ in range(150)]
    stripe_api.refusals = [(429, {"Retry-After": "0"}, {"message": "Too many requests"})]
    assert table(relo(*RECONCILE, "--since", "1h", "--dry-run").out)["all"] == [150, 0, 150]


def test_client_that_is_not_there_asks_stripe_nothing(product: Product, relo: Relo, stripe_api: StripeApi) -> None:
    done = relo("stripe", "reconcile", "--client", "gone")
    assert "there is no active client gone" in done.complaint
    assert stripe_api.requests == []
