"""The events that `relo stripe trigger` sends: of every stored type, in both shapes, one story."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import stripe

from relo_ingest.ingest.stripe import ROWS, decode_event, to_event
from relo_ingest.stripe_tools.kinds import LATEST, SUPPORTED
from relo_ingest.stripe_tools.samples import SINGLE, NotInThisVersion, Story

OLD = "2024-06-20"
NOW = 1_790_000_000
NAMES = {
    "checkout.session.completed": "purchase",
    "checkout.session.async_payment_succeeded": "purchase",
    "checkout.session.async_payment_failed": "purchase_failed",
    "invoice.paid": "subscription_renewal",
    "invoice_payment.paid": "invoice_payment_linked",
    "customer.subscription.created": "subscription_created",
    "customer.subscription.updated": "subscription_updated",
    "customer.subscription.deleted": "subscription_cancelled",
    "charge.refunded": "refund",
    "refund.created": "refund",
    "refund.updated": "refund",
    "refund.failed": "refund_failed",
    "charge.dispute.created": "chargeback_opened",
    "charge.dispute.funds_withdrawn": "chargeback",
    "charge.dispute.funds_reinstated": "chargeback_reversed",
    "charge.dispute.closed": "chargeback_closed",
}
"""What DESIGN §7 makes of each sample."""


def story(version: str = LATEST, **options: Any) -> Story:
    return Story("RUN", NOW, version, **options)


def row(event: dict[str, Any]) -> Any:
    found = to_event(decode_event(msgspec.json.encode(event)), 1, NOW * 1000)
    assert found is not None
    return found


def objects(version: str = LATEST) -> dict[str, list[dict[str, Any]]]:
    """The objects of a whole story by type of event."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in story(version).all():
        found.setdefault(event["type"], []).append(event["data"]["object"])
    return found


def test_supported_types_are_those_that_the_ingest_stores() -> None:
    assert set(SUPPORTED) == set(ROWS) == set(SINGLE) == set(NAMES)
    assert len(SUPPORTED) == len(set(SUPPORTED)) <= 20, "Stripe lists events of at most 20 types at once"


@pytest.mark.parametrize("version", [OLD, LATEST])
@pytest.mark.parametrize("kind", SUPPORTED)
def test_each_sample_is_stored_as_the_design_says(kind: str, version: str) -> None:
    if kind == "invoice_payment.paid" and version == OLD:
        with pytest.raises(NotInThisVersion, match="since API version 2025-03-31"):
            story(OLD).one(kind)
        return
    event = story(version).one(kind)
    assert (event["type"], event["api_version"], event["livemode"]) == (kind, version, False)
    stored = row(event)
    assert stored.event_name == NAMES[kind]
    assert stored.is_test


@pytest.mark.parametrize("version", [OLD, LATEST])
def test_story_has_every_type_once_at_least_and_no_id_twice(version: str) -> None:
    told = list(story(version).all())
    expected = set(SUPPORTED) - ({"invoice_payment.paid"} if version == OLD else set())
    assert {e["type"] for e in told} == expected
    assert len({e["id"] for e in told}) == len(told)
    assert [e["created"] for e in told] == sorted(e["created"] for e in told)
    assert told[-1]["created"] <= NOW


def test_runs_share_no_id() -> None:
    def ids(run: str) -> set[str]:
        names = ("id", "customer", "subscription", "invoice", "payment_intent", "charge", "latest_invoice")
        return {
            o[n] for e in Story(run, NOW, LATEST).all() for o in (e, e["data"]["object"]) for n in names if o.get(n)
        }

    assert ids("RUN1") & ids("RUN2") == set()


@pytest.mark.parametrize("version", [OLD, LATEST])
def test_objects_of_a_story_name_each_other(version: str) -> None:
    told = objects(version)
    subscription = told["customer.subscription.created"][0]
    first, renewal = told["invoice.paid"]
    session = told["checkout.session.completed"][0]
    assert session["invoice"] == subscription["latest_invoice"] == first["id"] != renewal["id"]
    assert session["subscription"] == subscription["id"] == told["customer.subscription.deleted"][0]["id"]
    assert {o["customer"] for o in (session, subscription, first, renewal, *told["charge.refunded"])} == {"cus_RUN01"}
    charge, dispute = told["charge.refunded"][0], told["charge.dispute.created"][0]
    assert {r["charge"] for r in (*told["refund.created"], *told["refund.failed"])} == {charge["id"]}
    if version == OLD:
        assert (first["charge"], first["payment_intent"]) == (charge["id"], charge["payment_intent"])
        assert (renewal["charge"], renewal["payment_intent"]) == (dispute["charge"], dispute["payment_intent"])
        assert charge["invoice"] == first["id"]
    else:
        links = {p["invoice"]: p["payment"]["payment_intent"] for p in told["invoice_payment.paid"]}
        assert links == {first["id"]: charge["payment_intent"], renewal["id"]: dispute["payment_intent"]}
    cash = [s["id"] for s in told["checkout.session.completed"][1:]]
    assert cash == [told[f"checkout.session.async_payment_{end}"][0]["id"] for end in ("succeeded", "failed")]


def test_old_and_new_shapes_differ_where_stripe_changed_them() -> None:
    old, new = objects(OLD), objects(LATEST)
    for name in ("subscription", "payment_intent", "charge", "subscription_details"):
        assert name in old["invoice.paid"][0]
        assert name not in new["invoice.paid"][0]
    assert "parent" not in old["invoice.paid"][0]
    assert new["invoice.paid"][0]["parent"]["subscription_details"]["subscription"] == "sub_RUN01"
    assert "invoice" not in new["charge.refunded"][0]
    assert "current_period_end" in old["customer.subscription.created"][0]
    assert "current_period_end" in new["customer.subscription.created"][0]["items"]["data"][0]


@pytest.mark.parametrize("version", [OLD, LATEST])
def test_click_id_stands_wherever_stripe_would_have_it(version: str) -> None:
    told = story(version, click_id="CLICK")
    for kind in ("checkout.session.completed", "invoice.paid", "customer.subscription.created"):
        assert row(told.one(kind)).click_id == "CLICK"


@pytest.mark.parametrize("version", [OLD, LATEST])
def test_upgrade_is_told_as_one(version: str) -> None:
    assert (
        msgspec.json.decode(row(story(version).one("customer.subscription.updated")).properties)["change"] == "upgrade"
    )


def test_live_sample_is_live_in_every_object() -> None:
    for event in story(livemode=True).all():
        assert event["livemode"] is True
        assert event["data"]["object"].get("livemode", True) is True


def test_stripes_library_reads_every_sample() -> None:
    for event in (*story(OLD).all(), *story(LATEST).all()):
        read = stripe.Event.construct_from(event, "sk_test")
        assert type(read.data.object) is not stripe.StripeObject, f"{event['type']} holds an object it does not know"
        assert read.data.object.id == event["data"]["object"]["id"]
