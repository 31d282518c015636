"""Each row of the guide's table of Stripe events, in the shapes of before and since 2025-03-31, over HTTP."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from relo_ingest._fast import digest, ulid
from support.processes import eventually
from support.stripe_events import (
    charge_refunded,
    dispute_event,
    invoice_paid,
    invoice_payment_paid,
    plan,
    price,
    refund_event,
    session_event,
    signed,
    subscription_event,
    subscription_items,
    thin_event,
)

Shop = Any  # of conftest.py, which cannot be imported

BOTH = pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
GUIDE = """SELECT event_id, event_name, event_type, revenue, order_id FROM events
WHERE media_source = 'stripe' ORDER BY event_time DESC LIMIT 10;"""

TABLE: dict[str, tuple[Any, tuple[str, str, str]]] = {
    "paid": (lambda old: session_event(old=old), ("purchase", "purchase", "100")),
    "nothing to pay": (
        lambda old: session_event(old=old, payment_status="no_payment_required", amount_total=0),
        ("purchase", "purchase", "0"),
    ),
    "unpaid": (lambda old: session_event(old=old, payment_status="unpaid"), ("purchase_pending", "custom", "0")),
    "paid later": (lambda old: session_event("async_payment_succeeded", old=old), ("purchase", "purchase", "100")),
    "never paid": (lambda old: session_event("async_payment_failed", old=old), ("purchase_failed", "custom", "0")),
    "renewal": (lambda old: invoice_paid(old=old, subscription="sub_1"), ("subscription_renewal", "custom", "20")),
    "first invoice": (
        lambda old: invoice_paid("subscription_create", old=old, subscription="sub_1"),
        ("subscription_first_invoice", "custom", "0"),
    ),
    "upgrade": (
        lambda old: invoice_paid("subscription_update", old=old, subscription="sub_1"),
        ("invoice_payment", "custom", "20"),
    ),
    "invoice by hand": (lambda old: invoice_paid("manual", old=old), ("invoice_payment", "custom", "20")),
    "subscribed": (lambda old: subscription_event(old=old), ("subscription_created", "custom", "0")),
    "changed": (
        lambda old: subscription_event("updated", old=old, previous={"metadata": {}}),
        ("subscription_updated", "custom", "0"),
    ),
    "ended": (lambda old: subscription_event("deleted", old=old), ("subscription_cancelled", "custom", "0")),
    "charge refunded": (lambda old: charge_refunded(old=old), ("refund", "refund", "-100")),
    "refund": (lambda old: refund_event(old=old, amount=1_250), ("refund", "refund", "-12.5")),
    "refund pending": (lambda old: refund_event(old=old, status="pending"), ("refund", "refund", "-100")),
    "refund updated": (lambda old: refund_event("updated", old=old), ("refund", "refund", "-100")),
    "refund updated to failed": (
        lambda old: refund_event("updated", old=old, status="failed"),
        ("refund_failed", "refund", "0"),
    ),
    "refund canceled": (
        lambda old: refund_event("updated", old=old, status="canceled"),
        ("refund_failed", "refund", "0"),
    ),
    "refund failed": (lambda old: refund_event("failed", old=old), ("refund_failed", "refund", "0")),
    "disputed": (lambda old: dispute_event(old=old), ("chargeback_opened", "chargeback", "0")),
    "withdrawn": (lambda old: dispute_event("funds_withdrawn", old=old), ("chargeback", "chargeback", "-100")),
    "reinstated": (
        lambda old: dispute_event("funds_reinstated", old=old),
        ("chargeback_reversed", "chargeback", "100"),
    ),
    "dispute closed": (lambda old: dispute_event("closed", old=old), ("chargeback_closed", "chargeback", "0")),
    "linked": (lambda old: invoice_payment_paid("in_x", "pi_x"), ("invoice_payment_linked", "custom", "0")),
}


@pytest.fixture(scope="module")
def told(shop: Shop) -> dict[tuple[str, bool], Any]:
    """The row of each event of the table, in both shapes."""
    events = {(name, old): build(old) for name, (build, _) in TABLE.items() for old in (False, True)}
    return dict(zip(events, shop.rows(*events.values()), strict=True))


@BOTH
@pytest.mark.parametrize("name", TABLE)
def test_event_becomes_the_row_of_the_table(told: dict[tuple[str, bool], Any], name: str, old: bool) -> None:
    row = told[name, old]
    assert (row["event_name"], row["event_type"], f"{row['revenue'].normalize():f}") == TABLE[name][1]
    assert (row["channel"], row["media_source"], row["is_test"], row["currency"]) == ("stripe", "stripe", False, "USD")


def test_query_of_the_guide_shows_each_event(shop: Shop) -> None:
    # In the future, so that they are the last ten whatever else is sent.
    later = int(time.time()) + 400 * 86400
    for start in range(0, len(TABLE), 10):
        sent = {}
        for n, (build, (event_name, event_type, revenue)) in enumerate(list(TABLE.values())[start : start + 10]):
            event = build(False) | {"created": later + start + n}
            shop.post(event)
            sent[event["id"]] = (event_name, event_type, Decimal(revenue))
        shop.row(event["id"])
        found = shop.product.rows(GUIDE)
        assert {r[0]: r[1:4] for r in found if r[0] in sent} == sent
        assert all(order_id for *_, order_id in found)


@BOTH
def test_test_mode_is_marked_even_where_the_object_does_not_say_it(shop: Shop, old: bool) -> None:
    assert shop.send(session_event(old=old, livemode=False))["is_test"]
    assert shop.send(refund_event(old=old, livemode=False))["is_test"]


def test_click_id_comes_from_metadata_then_from_the_reference(shop: Shop) -> None:
    both = session_event(metadata={"relo_click_id": "C1"}, client_reference_id="C2")
    assert shop.send(both)["click_id"] == "C1"
    assert shop.send(session_event(metadata={"other": "x"}, client_reference_id="C2"))["click_id"] == "C2"
    assert shop.send(session_event(metadata=None))["click_id"] == ""


@BOTH
def test_click_id_of_subscription_metadata_reaches_its_invoices(shop: Shop, old: bool) -> None:
    named = {"relo_click_id": "C3"}
    assert shop.send(subscription_event(old=old, metadata=named))["click_id"] == "C3"
    row = shop.send(invoice_paid(old=old, subscription="sub_9", subscription_metadata=named))
    assert (row["click_id"], row["properties"]["subscription"]) == ("C3", "sub_9")
    lines = {"data": [{"metadata": {}}, {"metadata": named, "subscription": "sub_8"}]}
    row = shop.send(invoice_paid(old=old, lines=lines))
    assert (row["click_id"], row["properties"]["subscription"]) == ("C3", "sub_8")


def test_promo_code_is_the_expanded_text_or_the_id(shop: Shop) -> None:
    code = {"id": "promo_1", "object": "promotion_code", "code": "ANA20"}
    assert shop.send(session_event(discounts=[{"coupon": "c", "promotion_code": "promo_1"}]))["promo_code"] == "promo_1"
    assert shop.send(session_event(discounts=[{"coupon": None, "promotion_code": code}]))["promo_code"] == "ANA20"
    breakdown = {"discounts": [{"amount": 5, "discount": {"id": "di_1", "promotion_code": code}}], "taxes": []}
    assert shop.send(session_event(total_details={"breakdown": breakdown}))["promo_code"] == "ANA20"
    assert shop.send(invoice_paid(old=True, discount={"promotion_code": "promo_2"}))["promo_code"] == "promo_2"
    assert shop.send(invoice_paid(discounts=["di_1", {"promotion_code": code}]))["promo_code"] == "ANA20"
    assert shop.send(session_event(discounts=[{"coupon": "c", "promotion_code": None}]))["promo_code"] == ""


@BOTH
def test_payers_of_sessions_and_invoices_are_known_by_hash_alone(shop: Shop, old: bool) -> None:
    address, expected = " Bea@Example.COM", digest.email_hash("bea@example.com")
    for event in (
        session_event(old=old, customer_details={"email": address}),
        session_event(old=old, customer_details=None, customer_email=address),
        invoice_paid(old=old, customer_email=address),
    ):
        row = shop.send(event)
        assert row["email_hash"] == expected
        assert "bea@" not in str(row).lower()


def test_device_of_a_known_address_is_found_for_payments_and_not_for_lifecycle(shop: Shop) -> None:
    email, device = f"{ulid.new()}@example.com", ulid.new()
    beacon = {"client_id": 1, "did": device, "email_hash": digest.email_hash(email)}
    assert shop.product.http.post("/e", json=beacon).status_code == 204
    assert shop.send(session_event(customer_details={"email": email}))["device_id"] == device
    assert shop.send(invoice_paid(customer_email=email))["device_id"] == device
    assert shop.send(subscription_event())["device_id"] == ""


@BOTH
def test_amounts_beside_the_revenue_are_kept(shop: Shop, old: bool) -> None:
    totals = {"amount_discount": 500, "amount_shipping": 799, "amount_tax": 1600}
    row = shop.send(session_event(old=old, total_details=totals))
    assert {k: row["properties"][k] for k in ("discount", "shipping", "tax")} == {
        "discount": "5", "shipping": "7.99", "tax": "16",
    }  # fmt: skip
    taxed = {"tax": 345} if old else {"total_taxes": [{"amount": 300}, {"amount": 45}]}
    first = invoice_paid("subscription_create", old=old, subscription="sub_1", amount_paid=2345, **taxed)
    properties = shop.send(first)["properties"]
    assert properties == {
        "billing_reason": "subscription_create", "subscription": "sub_1", "tax": "3.45", "amount": "23.45",
    }  # fmt: skip
    found = shop.view("payments", conversion_key=first["data"]["object"]["id"])[0]
    assert (found["revenue"], found["tax"], found["subscription"]) == (Decimal("23.45"), Decimal("3.45"), "sub_1")


def test_presentment_amounts_are_kept_and_revenue_is_the_clients(shop: Shop) -> None:
    shown = {"presentment_amount": 2_345_678, "presentment_currency": "cop"}
    row = shop.send(session_event(presentment_details=shown))
    assert (row["revenue"], row["currency"]) == (100, "USD")
    assert (row["properties"]["presentment_amount"], row["properties"]["presentment_currency"]) == ("23456.78", "COP")
    row = shop.send(refund_event(presentment_details={"presentment_amount": 900, "presentment_currency": "jpy"}))
    assert (row["properties"]["presentment_amount"], row["properties"]["presentment_currency"]) == ("900", "JPY")
    converted = {"amount_subtotal": 1, "amount_total": 2000, "fx_rate": "0.9", "source_currency": "usd"}
    row = shop.send(session_event(old=True, currency="eur", amount_total=1_850, currency_conversion=converted))
    assert (row["revenue"], row["currency"]) == (Decimal("18.5"), "EUR")
    assert (row["properties"]["source_amount"], row["properties"]["source_currency"]) == ("20", "USD")


def test_connected_account_is_kept(shop: Shop) -> None:
    event = session_event(account="acct_1")
    assert shop.send(event)["properties"]["account"] == "acct_1"
    assert shop.conversion(event["data"]["object"]["payment_intent"])["account"] == "acct_1"
    assert shop.send(dispute_event(account="acct_1"))["properties"]["account"] == "acct_1"


def test_expanded_objects_stand_where_ids_are_expected(shop: Shop) -> None:
    def full(id: str) -> dict[str, Any]:
        return {"id": id, "object": "x", "livemode": True, "nested": {"deep": [1]}}

    row = shop.send(session_event(invoice=full("in_e1"), payment_intent=full("pi_e1"), customer=full("cus_e1")))
    assert (row["conversion_key"], row["customer_ref"], row["refs"][:2]) == ("in_e1", "cus_e1", ["in_e1", "pi_e1"])
    row = shop.send(invoice_paid(old=True, id="in_e2", payment_intent=full("pi_e2"), charge=full("ch_e2")))
    assert row["refs"] == ["in_e2", "pi_e2", "ch_e2"]
    row = shop.send(invoice_paid(id="in_e3", payments={"data": [{"payment": {"payment_intent": full("pi_e3")}}]}))
    assert row["refs"] == ["in_e3", "pi_e3"]
    row = shop.send(refund_event(id="re_e", charge=full("ch_e4"), payment_intent=full("pi_e4")))
    assert (row["refs"], row["conversion_key"]) == (["pi_e4", "ch_e4", "re_e"], "")
    row = shop.send(dispute_event(id="dp_e", charge=full("ch_e5"), payment_intent=None))
    assert row["refs"] == ["ch_e5", "dp_e"]


def test_old_charge_knows_its_conversion_and_a_new_one_does_not(shop: Shop) -> None:
    known = charge_refunded(old=True, invoice="in_k", payment_intent="pi_k")
    assert shop.send(known)["conversion_key"] == "in_k"
    assert shop.send(charge_refunded(old=True, invoice=None, payment_intent="pi_k2"))["conversion_key"] == "pi_k2"
    assert shop.send(charge_refunded(payment_intent="pi_k3"))["conversion_key"] == ""


def test_references_never_name_a_customer_or_a_subscription(told: dict[tuple[str, bool], Any]) -> None:
    refs = {ref for row in told.values() for ref in row["refs"]}
    assert {ref.partition("_")[0] for ref in refs} == {"cs", "in", "pi", "ch", "re", "dp", "inpay"}


def test_refund_of_a_charge_is_what_this_event_refunded(shop: Shop) -> None:
    event = charge_refunded(amount_refunded=5_000, previous={"amount_refunded": 2_000, "refunded": False})
    row = shop.send(event)
    assert (row["revenue"], row["properties"]["amount_refunded"]) == (-30, "50")


def test_unknown_fields_change_nothing(shop: Shop) -> None:
    event = session_event(brand_new={"a": [1]}, another=None)
    event["context"] = {"b": 2}
    event["data"]["more"] = [3]
    assert shop.send(event)["revenue"] == 100


def test_absurd_values_do_not_cost_the_row(shop: Shop) -> None:
    odd = {"trial_end": 10**30, "ended_at": -(10**18), "start_date": 10**18, "cancel_at": 2**63}
    row = shop.send(subscription_event("deleted", **odd, cancellation_details={"reason": "\0\n\u202e\U0001f600"}))
    assert row["properties"]["cancel_reason"] == "\0\n\u202e\U0001f600"
    shop.view("subscriptions", subscription=row["order_id"])


def test_thin_event_is_answered_and_counted_as_unsupported(shop: Shop) -> None:
    assert shop.counts_one_more("payment_unsupported", thin_event()) == {"received": True, "stored": False}


def test_other_type_is_answered_and_counted_as_ignored(shop: Shop) -> None:
    other = session_event() | {"type": "payment_intent.succeeded"}
    assert shop.counts_one_more("payment_ignored", other) == {"received": True, "stored": False}


def test_session_that_only_saves_a_card_is_no_sale(shop: Shop) -> None:
    saved = session_event(mode="setup", payment_status="no_payment_required", amount_total=None, currency=None)
    assert shop.counts_one_more("payment_ignored", saved) == {"received": True, "stored": False}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"object":"event"}', b'{"object":"v2.core.event"', b"\xff"])
def test_signed_body_that_is_no_event_is_refused_and_counted(shop: Shop, body: bytes) -> None:
    before = shop.counted("invalid_payload")
    response = shop.product.http.post("/postback/stripe/demo", **signed(body))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_payload")
    eventually(lambda: shop.counted("invalid_payload") == before + 1, "one more invalid_payload")


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_subscription_row_says_plan_status_interval_and_quantity(shop: Shop, old: bool) -> None:
    row = shop.send(subscription_event(old=old, id="sub_p", customer="cus_p", start_date=1_750_000_000))
    assert (row["order_id"], row["customer_ref"], row["refs"], row["conversion_key"]) == ("sub_p", "cus_p", [], "")
    assert row["properties"] == {
        "subscription": "sub_p", "status": "active", "started": 1_750_000_000, "product": "prod_1",
        "plan": "plan_2000_month" if old else "price_2000_month", "interval": "month", "interval_count": 1,
        "amount": "20", "quantity": 1,
    }  # fmt: skip


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "dearer price": ({}, {"items": subscription_items(price(1_000))}, "upgrade"),
    "cheaper price": ({}, {"items": subscription_items(price(5_000))}, "downgrade"),
    "more pieces": (
        {"items": subscription_items(price(500), quantity=3)},
        {"items": subscription_items(price(500), quantity=2)},
        "upgrade",
    ),
    "fewer pieces, old shape": ({"items": subscription_items(price(500))}, {"quantity": 2}, "downgrade"),
    "cheaper plan, old shape": ({}, {"plan": plan(5_000)}, "downgrade"),
    "yearly at ten months' price": (
        {"items": subscription_items(price(20_000, "year"))},
        {"items": subscription_items(price(2_000))},
        "downgrade",
    ),
    "yearly for weekly": (
        {"items": subscription_items(price(60_000, "year"))},
        {"items": subscription_items(price(1_000, "week"))},
        "upgrade",
    ),
    "tiers, more pieces": (
        {"items": subscription_items(price(0, unit_amount=None, unit_amount_decimal=None), quantity=9)},
        {"items": subscription_items(price(0, unit_amount=None, unit_amount_decimal=None), quantity=3)},
        "upgrade",
    ),
    "fractions of a cent": (
        {"items": subscription_items(price(0, unit_amount=None, unit_amount_decimal="0.7"))},
        {"items": subscription_items(price(0, unit_amount=None, unit_amount_decimal="0.55"))},
        "upgrade",
    ),
    "collection paused": ({"pause_collection": {"behavior": "void"}}, {"pause_collection": None}, "pause"),
    "collection resumed": ({}, {"pause_collection": {"behavior": "void", "resumes_at": None}}, "resume"),
    "paused": ({"status": "paused"}, {"status": "trialing"}, "pause"),
    "resumed": ({}, {"status": "paused"}, "resume"),
    "ends with the period": ({"cancel_at_period_end": True}, {"cancel_at_period_end": False}, "cancel_scheduled"),
    "ends at a date": ({"cancel_at": 1_800_000_000}, {"cancel_at": None}, "cancel_scheduled"),
    "goes on after all": ({}, {"cancel_at_period_end": True}, "other"),
    "another period": ({}, {"current_period_end": 1, "latest_invoice": "in_1"}, "other"),
    "trial over": ({}, {"status": "trialing"}, "other"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_previous_attributes_say_what_an_update_was(shop: Shop, name: str) -> None:
    now, before, expected = CHANGES[name]
    row = shop.send(subscription_event("updated", previous=before, **now))
    assert row["properties"]["change"] == expected


def test_cancellation_says_why(shop: Shop) -> None:
    why = {"comment": "x", "feedback": "too_expensive", "reason": "cancellation_requested"}
    properties = shop.send(subscription_event("deleted", cancellation_details=why, ended_at=1_760_000_000))[
        "properties"
    ]
    assert (properties["cancel_reason"], properties["cancel_feedback"]) == ("cancellation_requested", "too_expensive")
    assert (properties["status"], properties["ended_at"]) == ("canceled", 1_760_000_000)


CURRENCIES = [
    "aed", "afn", "all", "amd", "ang", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd", "bdt", "bgn", "bhd", "bif",
    "bmd", "bnd", "bob", "brl", "bsd", "bwp", "byn", "bzd", "cad", "cdf", "chf", "clp", "cny", "cop", "crc", "cve",
    "czk", "djf", "dkk", "dop", "dzd", "egp", "etb", "eur", "fjd", "fkp", "gbp", "gel", "gip", "gmd", "gnf", "gtq",
    "gyd", "hkd", "hnl", "htg", "huf", "idr", "ils", "inr", "isk", "jmd", "jod", "jpy", "kes", "kgs", "khr", "kmf",
    "krw", "kwd", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "mad", "mdl", "mga", "mkd", "mmk", "mnt", "mop",
    "mur", "mvr", "mwk", "mxn", "myr", "mzn", "nad", "ngn", "nio", "nok", "npr", "nzd", "omr", "pab", "pen", "pgk",
    "php", "pkr", "pln", "pyg", "qar", "ron", "rsd", "rub", "rwf", "sar", "sbd", "scr", "sek", "sgd", "shp", "sle",
    "sos", "srd", "std", "szl", "thb", "tjs", "tnd", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "usd", "uyu",
    "uzs", "vnd", "vuv", "wst", "xaf", "xcd", "xof", "xpf", "yer", "zar", "zmw",
]  # fmt: skip
WHOLE = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf",
]  # fmt: skip
THOUSANDTHS = [
    "bhd", "jod", "kwd", "omr", "tnd",
]  # fmt: skip


def test_every_currency_is_counted_in_its_own_units(shop: Shop) -> None:
    minor = 12_345_678_900  # beyond 2^31
    events = {c: session_event(currency=c, amount_total=minor) for c in CURRENCIES}
    for event in events.values():
        shop.post(event)
    keys = [e["data"]["object"]["payment_intent"] for e in events.values()]
    sql = "SELECT conversion_key, currency, revenue FROM conversions WHERE conversion_key IN {keys:Array(String)}"
    found = eventually(lambda: rows if len(rows := shop.product.rows(sql, keys=keys)) == len(keys) else None, "all")
    found = {key: (currency, revenue) for key, currency, revenue in found}
    per_unit = {c: 1 if c in WHOLE else 1000 if c in THOUSANDTHS else 100 for c in CURRENCIES}
    assert found == {k: (c.upper(), Decimal(minor) / per_unit[c]) for k, c in zip(keys, events, strict=True)}
