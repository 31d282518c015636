"""What ``relo why`` says of payments that the worker has settled. ``ana`` and ``luis`` are refs with the client's id."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from relo_ingest import rates, review
from relo_ingest.explain import find
from relo_ingest.explain.facts import Unknown

Story, Why = Any, Callable[[str], str]
EMAIL = "a" * 64


@pytest.fixture
def shop(story: Story) -> Story:
    story.partner("ana", "luis")
    story.rule("tenth", 1000)
    return story


def told(text: str, title: str) -> list[str]:
    """The sentences under a title."""
    parts = {part.partition("\n")[0]: part.split("\n")[1:] for part in text.split("\n\n")}
    return parts.get(title, [])


def test_a_sale_by_its_click_with_its_losers_and_its_rounding(shop: Story, why: Why) -> None:
    ana, luis = shop.ref("ana"), shop.ref("luis")
    for click_id, partner, at in (
        ("old", "luis", -90),
        ("early", "luis", -3),
        ("late", "ana", -2),
        ("two", "ana", -1.5),
    ):
        shop.click(click_id, partner, at)
    for click_id in ("old", "early", "late"):
        shop.seen("d1", click=click_id, at=-2)
    shop.seen("d1", email=EMAIL, at=-2)
    shop.seen("d2", email=EMAIL, click="two", at=-1.4)
    shop.pay("pi_1", -1, "12.35", click_id="late", customer_ref="cus_1", refs=["ch_1"])
    text = why("pi_1")
    assert told(text, "What was paid") == [f"12.35 USD on {shop.time(-1):%Y-%m-%d %H:%M:%S} UTC: a first payment."]
    assert told(text, "What it carried") == [
        "order: order-pi_1",
        "customer: cus_1",
        "click id: late",
        "other ids: ch_1",
    ]
    found = told(text, "What was found")
    assert found[:2] == [
        "Device d1: seen with its click.",
        "Device d2: connected: it shares an address with one of those.",
    ]
    assert f"Click old on {luis}'s link" in found[2]
    assert "89 days before; seen on a device of the payment. It does not count: the window is 60 days." in found[2]
    assert found[4].startswith(f"Click late on {ana}'s link")
    assert found[4].endswith("1 day before; named by the payment. It counts.")
    assert "seen on a connected device. It counts." in found[5]
    assert found[6:] == ["Looked for, and not found: a promo code and an earlier payment of the same customer."]
    assert told(text, "Who earns") == [
        f"{ana} on the offer main, by click_id: the payment names the click late of {shop.time(-2):%Y-%m-%d %H:%M:%S} UTC.",
        f"{luis} lost with the click early: click_id goes before device here.",
        f"{ana} lost with the click two: click_id goes before device here.",
    ]
    assert told(text, "What is earned") == [
        f"The rule tenth was in force on {shop.time(-1):%Y-%m-%d}.",
        "10 % of 12.35 USD is exactly 1.235 USD.",
        "Rounded half-even to 2 decimals: 1.24 USD.",
    ]
    assert told(text, "The ledger")[0].endswith(f"{ana}  accrual  +1.24 USD: commission for a first payment")
    assert told(text, "When it is due") == [f"{ana}: 1.24 USD, pending until {shop.time(29):%Y-%m-%d}."]


def test_a_sale_by_a_device_says_which_click_was_the_last(shop: Story, why: Why) -> None:
    shop.click("k1", "luis", -3)
    shop.click("k2", "ana", -2)
    shop.seen("d", click="k1", at=-3)
    shop.seen("d", click="k2", email=EMAIL, at=-2)
    shop.pay("pi_device", -1, email_hash=EMAIL)
    text = why("pi_device")
    assert "e-mail hash: aaaaaaaa…" in text
    assert EMAIL not in text
    assert "Device d: seen with its e-mail hash." in text
    assert "is the last one that counts, seen on a device of the payment." in text
    assert f"{shop.ref('luis')} lost with the click k1: it came earlier, and the last click wins." in text


def test_a_near_click_is_not_called_the_last_one_where_a_later_far_one_counts(shop: Story, why: Why) -> None:
    shop.click("near", "ana", -9)
    shop.click("far", "luis", -2)
    shop.seen("own", click="near", email=EMAIL, at=-8)
    shop.seen("other", click="far", email=EMAIL, at=-2)
    shop.pay("pi_near", -1, device_id="own")
    won, lost = told(why("pi_near"), "Who earns")
    assert won.endswith("goes before later ones, seen on a device of the payment.")
    assert lost == (
        f"{shop.ref('luis')} lost with the click far: it was seen on a connected device, "
        "and near seen on a device of the payment."
    )


def with_first_click_offers(shop: Story, **terms: Any) -> None:
    """ana and luis click on the offer one, with these terms, and luis in between on two; all of it on the device d."""
    for slug, more in (("one", terms), ("two", {})):
        page = {"landing_page": "https://x.test/", "model": "first_click"}
        shop.declare(offers=[shop.of_client(slug=slug, **page, **more)])
    for click_id, partner, at, offer in (
        ("k1", "ana", -9, "one"),
        ("k2", "luis", -8, "two"),
        ("k3", "luis", -7, "one"),
    ):
        shop.click(click_id, partner, at, offer)
        shop.seen("d", click=click_id, at=-6)


def test_the_first_click_wins_on_the_offer_of_the_last(shop: Story, why: Why) -> None:
    with_first_click_offers(shop)
    ana, luis = shop.ref("ana"), shop.ref("luis")
    shop.pay("pi_first", -1, device_id="d")
    won, *lost = told(why("pi_first"), "Who earns")
    assert won.startswith(f"{ana} on the offer one, by device: click k1 of ")
    assert won.endswith("is the first one that counts on the offer one, seen on a device of the payment.")
    assert lost == [
        f"{luis} lost with the click k2: the offer one goes before two with its click k3: "
        "it came earlier, and the last click wins.",
        f"{luis} lost with the click k3: the offer pays the first click, and it came later.",
    ]


def test_a_click_that_the_payment_names_loses_against_the_first_of_its_offer(shop: Story, why: Why) -> None:
    with_first_click_offers(shop, methods=["click_id", "promo_code", "device"])
    luis = shop.ref("luis")
    shop.declare(promo_codes=[shop.of_client(code="LUIS", partner=luis, offer="one")])
    shop.pay("pi_named", -1, device_id="d", click_id="k3", promo_code="LUIS")
    won, *lost = told(why("pi_named"), "Who earns")
    assert won.startswith(f"{shop.ref('ana')} on the offer one, by device: click k1 of ")
    assert lost == [
        f"{luis} lost with the promo code LUIS: click_id goes before promo_code here.",
        f"{luis} lost with the click k2: the offer one goes before two with its click k3: "
        "click_id goes before device here.",
        f"{luis} lost with the click k3: the offer pays the first click, and it came later.",
    ]


def test_a_later_click_loses_where_its_offer_has_the_method_further_back(shop: Story, why: Why) -> None:
    for slug, methods in (("one", ["device"]), ("two", ["click_id", "device"])):
        shop.declare(offers=[shop.of_client(slug=slug, landing_page="https://x.test/", methods=methods)])
    shop.click("k1", "ana", -3, offer="one")
    shop.click("k2", "luis", -2, offer="two")
    for click_id in ("k1", "k2"):
        shop.seen("d", click=click_id, at=-2)
    shop.pay("pi_rank", -1, device_id="d")
    won, *lost = told(why("pi_rank"), "Who earns")
    assert won.endswith("goes before later ones, seen on a device of the payment.")
    assert lost == [
        f"{shop.ref('luis')} lost with the click k2: device comes earlier among the methods of the offer one."
    ]


def test_of_many_clicks_the_last_ones_and_the_winner_are_told(shop: Story, why: Why) -> None:
    for n in range(30):
        shop.insert(shop.a_click(f"k{n:02}", "ana", -20 + n / 2), shop.a_beacon("d", click=f"k{n:02}", at=-20 + n / 2))
    shop.pay("pi_many", -1, click_id="k03")
    text = why("pi_many")
    told_clicks = [line.split()[1] for line in told(text, "What was found") if line.startswith("Click ")]
    assert told_clicks == ["k03", *(f"k{n:02}" for n in range(10, 30))]
    assert "30 clicks; the last of them:" in text
    assert len(told(text, "Who earns")) == 21


FLOODS: dict[str, tuple[dict[str, str], Callable[[Story], list[dict[str, Any]]]]] = {
    "devices of its click id": (
        {"click_id": "browser"},
        lambda s: [s.a_beacon(f"d{n:02}", click="browser", at=-3 + n / 1000) for n in range(25)],
    ),
    "devices of its address": (
        {"email_hash": EMAIL},
        lambda s: [s.a_beacon(f"d{n:02}", email=EMAIL, at=-3 + n / 1000) for n in range(25)],
    ),
    "addresses of its device": (
        {"device_id": "own"},
        lambda s: (
            [s.a_beacon("own", email=f"{n:064}", at=-3 + n / 1000) for n in range(25)]
            + [s.a_beacon("d24", email=f"{24:064}", at=-3)]
        ),
    ),
    "devices of another address": (
        {"device_id": "own"},
        lambda s: (
            [s.a_beacon("own", email=EMAIL, at=-3)]
            + [s.a_beacon(f"d{n:02}", email=EMAIL, at=-3 + n / 1000) for n in range(25)]
        ),
    ),
    "clicks of its device": (
        {"device_id": "d24"},
        lambda s: [s.a_beacon("d24", click=f"other{n}", at=-1.5) for n in range(200)],
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_what_the_worker_does_not_look_at_is_not_said_to_count(shop: Story, why: Why, flood: str) -> None:
    fields, beacons = FLOODS[flood]
    shop.click("late", "ana", -2)
    shop.insert(*beacons(shop), shop.a_beacon("d24", click="late", at=-2))
    shop.pay("pi_flood", -1, **fields)
    text = why("pi_flood")
    assert told(text, "Who earns")[0].startswith("Nobody")
    assert "late" not in text


def test_a_click_id_that_is_reported_again_is_the_click_it_was(shop: Story, why: Why) -> None:
    for partner, at in (("ana", -2), ("luis", -1.5)):
        shop.insert(shop.a_click("k", partner, at) | {"received_at": shop.time(at)})
    shop.pay("pi_again", -1, click_id="k")
    assert f"Click k on {shop.ref('ana')}'s link, {shop.time(-2):%Y-%m-%d %H:%M:%S} UTC, 1 day before" in why(
        "pi_again"
    )


def test_a_refund_says_which_share_of_the_commission_goes_back(shop: Story, why: Why) -> None:
    shop.click("k", "ana", -3)
    shop.pay("pi_r", -2, "12.35", click_id="k")
    refund = '{"refund": "re_1", "amount": "2.35", "charge": "ch_r", "status": "succeeded", "created": 1}'
    shop.insert({"event_type": "refund", "event_name": "refund", "event_time": shop.time(-1), "refs": ["pi_r"],
                 "revenue": "-2.35", "currency": "USD", "properties": refund})  # fmt: skip
    text = why("pi_r")
    assert told(text, "What went back") == [
        f"{shop.time(-1):%Y-%m-%d %H:%M:%S} UTC: a refund was reported, re_1, 2.35 USD (succeeded).",
        "Refunded so far: 2.35 USD of 12.35 USD.",
        "Of the commission goes back: 1.24 USD × 2.35 / 12.35 = 0.235951, rounded half-even 0.24 USD.",
    ]
    assert told(text, "The ledger")[1].endswith("reversal  −0.24 USD: money was refunded")
    assert told(text, "The ledger")[2] == f"Together: {shop.ref('ana')} 1.00 USD."


def test_a_dispute_takes_all_back_while_it_lasts(shop: Story, why: Why) -> None:
    shop.click("k", "ana", -3)
    shop.pay("pi_d", -2, "50", click_id="k")
    dispute = '{"dispute": "dp_1", "amount": "50", "charge": "ch_d", "status": "needs_response"}'
    shop.insert({"event_type": "chargeback", "event_name": "chargeback", "event_time": shop.time(-1), "refs": ["pi_d"],
                 "revenue": "-50", "currency": "USD", "properties": dispute})  # fmt: skip
    text = why("pi_d")
    assert "a dispute withdrew the money, dp_1, 50.00 USD (needs_response)." in text
    assert "Withdrawn by a dispute: 50.00 USD. While it is, nothing is earned." in text
    assert told(text, "When it is due") == [f"{shop.ref('ana')}: 0.00 USD. Nothing is left."]


def test_a_promo_code_goes_before_a_click(shop: Story, why: Why) -> None:
    luis = shop.ref("luis")
    shop.declare(promo_codes=[shop.of_client(code="LUIS10", partner=luis)])
    shop.click("k", "ana", -2)
    shop.pay("pi_p", -1, click_id="k", promo_code="luis10")
    text = why("pi_p")
    assert f"The promo code luis10 is {luis}'s. It counts." in text
    assert told(text, "Who earns") == [
        f"{luis} on the offer main, by promo_code: the code luis10 was used.",
        f"{shop.ref('ana')} lost with the click k: promo_code goes before click_id here.",
    ]


def test_a_renewal_belongs_to_who_brought_the_customer(shop: Story, why: Why) -> None:
    ana, luis = shop.ref("ana"), shop.ref("luis")
    shop.click("k", "ana", -40)
    shop.click("other", "luis", -2)
    customer = {"customer_ref": "cus_1", "properties": '{"subscription": "sub_1"}'}
    shop.pay("in_1", -35, click_id="k", **customer)
    renewal = {"event_type": "custom", "event_name": "subscription_renewal"}
    shop.pay("in_2", -1, click_id="other", **customer, **renewal)
    text = why("in_2")
    assert ": a renewal." in text
    assert (
        f"Earlier payment of the same subscription: 20.00 USD on {shop.time(-35):%Y-%m-%d %H:%M:%S} UTC (in_1), {ana}'s, by click_id."
        in text
    )
    assert told(text, "Who earns") == [
        f"{ana} on the offer main, by customer: {ana} brought the customer with the payment in_1 of {shop.time(-35):%Y-%m-%d}.",
        f"{luis} lost with the click other: a renewal belongs to whoever brought the customer.",
    ]
    listed = list(find.choices("sub_1", find.payments(shop.client, "sub_1", shop.slug)))
    assert listed[0] == "sub_1 is known by 2 payments; ask for one of them:"
    assert [line.split()[-1] for line in listed[1:]] == ["in_1", "in_2"]


RENEWAL = {"event_type": "custom", "event_name": "subscription_renewal"}
OF_SUBSCRIPTION = {"customer_ref": "cus_1", "properties": '{"subscription": "sub_1"}'}


def brought_with(shop: Story, why: Why, key: str) -> tuple[str, str, str]:
    """Whose a payment is by its customer, and the earlier payment that the worker names, and that ``why`` does."""
    text = why(key)
    row = shop.attributions()[key]
    assert row.method == "customer"
    rest = told(text, "Who earns")[0].partition(" brought the customer with the payment ")[2]
    return row.partner_ref.rpartition("-")[0], row.reason["evidence"].rpartition(" ")[2], rest.partition(" ")[0]


def test_the_customer_is_remembered_by_the_subscription_before_an_older_payment(shop: Story, why: Why) -> None:
    shop.click("k0", "ana", -50)
    shop.click("k1", "ana", -30)
    shop.pay("p0", -40, click_id="k0", customer_ref="cus_1")
    shop.pay("p1", -20, click_id="k1", **OF_SUBSCRIPTION)
    shop.pay("p2", -3, **OF_SUBSCRIPTION, **RENEWAL)
    assert brought_with(shop, why, "p2") == ("ana", "p1", "p1")
    older, newer = [line for line in told(why("p2"), "What was found") if line.startswith("Earlier payment")]
    assert older.endswith("by click_id. It does not count: p1 goes before it, being of the same subscription.")
    assert newer.endswith("by click_id.")


def test_the_customer_is_remembered_by_the_first_payment_that_found_somebody_itself(shop: Story, why: Why) -> None:
    shop.click("k1", "ana", -30)
    shop.click("k3", "luis", -12)
    shop.pay("p0", -40, **OF_SUBSCRIPTION)
    shop.pay("p1", -20, click_id="k1", **OF_SUBSCRIPTION, **RENEWAL)
    shop.pay("p2", -15, **OF_SUBSCRIPTION, **RENEWAL)
    shop.pay("p3", -10, click_id="k3", **OF_SUBSCRIPTION, **RENEWAL)
    shop.pay("p4", -3, **OF_SUBSCRIPTION, **RENEWAL)
    assert brought_with(shop, why, "p4") == ("ana", "p1", "p1")
    relatives = [line.partition(" UTC ")[2] for line in told(why("p4"), "What was found") if line.startswith("Earlier")]
    ana, luis = shop.ref("ana"), shop.ref("luis")
    assert relatives == [
        "(p0), nobody's.",
        f"(p1), {ana}'s, by click_id.",
        f"(p2), {ana}'s, by customer.",
        f"(p3), {ana}'s, by customer, and {luis}'s by what it carried itself. It does not count: p1 came before it.",
    ]


def test_the_partner_who_lost_with_the_customer_is_the_one_who_is_remembered(shop: Story, why: Why) -> None:
    shop.partner("cy")
    for click_id, partner, at in (("k0", "ana", -50), ("k1", "luis", -30), ("k2", "cy", -5)):
        shop.click(click_id, partner, at)
    shop.pay("p0", -40, "0", click_id="k0", customer_ref="cus_1")
    shop.pay("p1", -20, "0", click_id="k1", **OF_SUBSCRIPTION)
    shop.pay("p2", -3, click_id="k2", **OF_SUBSCRIPTION)
    assert told(why("p2"), "Who earns")[1:] == [
        f"{shop.ref('luis')} lost with the earlier payment p1: click_id goes before customer here."
    ]


def test_nobodys_sale_says_what_was_looked_for(shop: Story, why: Why) -> None:
    shop.pay("pi_none", -1, click_id="nope", promo_code="NOBODY")
    text = why("pi_none")
    assert told(text, "What was found") == [
        "The promo code NOBODY is no partner's.",
        "The click nope that it names is not one of this client's.",
        "Looked for, and not found: a device and an earlier payment of the same customer.",
    ]
    assert told(text, "Who earns") == [
        "Nobody: nothing that was found counts. What was seen within 72 hours after the payment still may."
    ]
    assert told(text, "What is earned") == told(text, "The ledger") == []


def test_a_paused_partners_click_and_code_do_not_count(shop: Story, why: Why) -> None:
    ana = shop.ref("ana")
    shop.declare(promo_codes=[shop.of_client(code="ANA", partner=ana)])
    shop.partner("ana", status="paused")
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    shop.click("k", "ana", -1)
    shop.pay("pi_paused", at, click_id="k", promo_code="ANA")
    text = why("pi_paused")
    assert f"The promo code ANA is {ana}'s. It does not count: {ana} was not active then." in text
    assert f"named by the payment. It does not count: {ana} was not active then." in text


def test_a_hold_says_what_to_do(shop: Story, why: Why) -> None:
    shop.click("k", "ana", -1)
    shop.pay("pi_fast", shop.time(-1) + dt.timedelta(seconds=2), click_id="k")
    text = why("pi_fast")
    assert told(text, "Holds and reviews")[0].endswith(
        f"on hold for fast_conversion ({shop.ref('ana')}): 2 s after the click"
    )
    assert "on hold until it is reviewed (`relo review`)" in told(text, "When it is due")[0]


def test_a_rejection_takes_the_commission_back_and_an_approval_gives_it_again(shop: Story, why: Why) -> None:
    ana = shop.ref("ana")
    shop.click("k", "ana", -1)
    shop.pay("pi_held", shop.time(-1) + dt.timedelta(seconds=2), "50", click_id="k")
    shop.settle()
    review.decide(shop.client, "pi_held", approve=False, slug=shop.slug, partner="", note="a friend's card")
    text = why("pi_held")
    assert told(text, "Holds and reviews")[1].endswith(
        f"rejected for {ana}, having seen fast_conversion: a friend's card."
    )
    assert [line.split("  ", 1)[1] for line in told(text, "The ledger")[:2]] == [
        f"{ana}  accrual  +5.00 USD: commission for a first payment",
        f"{ana}  reversal  −5.00 USD: rejected in a review",
    ]
    assert told(text, "When it is due") == [f"{ana}: 0.00 USD. Nothing is left."]
    sql = "SELECT commission_pending, commission_reversed FROM partner_daily WHERE client_id = {c:UInt32} AND sales > 0"
    report = shop.client.query(sql, parameters={"c": shop.client_id})
    assert [tuple(r) for r in report.result_rows] == [({}, {"USD": Decimal(5)})]
    review.decide(shop.client, "pi_held", approve=True, slug=shop.slug, partner="", note="")
    text = why("pi_held")
    assert told(text, "The ledger")[-1] == f"Together: {ana} 5.00 USD."
    assert told(text, "When it is due") == [f"{ana}: 5.00 USD, pending until {shop.time(29):%Y-%m-%d}."]


RULES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "net, with a maximum": (
        {"basis_points": 1000, "basis": "net_of_tax_and_shipping", "maximum": "3", "currency": "USD"},
        {"revenue": "50", "properties": '{"tax": "8.00", "shipping": "2"}'},
        [
            "It pays on 50.00 USD less 8.00 USD tax and 2.00 USD shipping: 40.00 USD.",
            "10 % of 40.00 USD is exactly 4.00 USD.",
            "The rule's maximum of 3.00 USD makes it 3.00 USD.",
        ],
    ),
    "with a minimum": (
        {"basis_points": 50, "minimum": "1", "currency": "USD"},
        {"revenue": "20"},
        ["0.5 % of 20.00 USD is exactly 0.10 USD.", "The rule's minimum of 1.00 USD makes it 1.00 USD."],
    ),
    "net, where nothing is left, with a minimum": (
        {"basis_points": 1000, "basis": "net_of_tax_and_shipping", "minimum": "1", "currency": "USD"},
        {"revenue": "20", "properties": '{"tax": "20.00"}'},
        [
            "It pays on 20.00 USD less 20.00 USD tax and 0.00 USD shipping: 0.00 USD.",
            "10 % of 0.00 USD is exactly 0.00 USD.",
            "The rule's minimum of 1.00 USD makes it 1.00 USD.",
        ],
    ),
    "too small to be written": (
        {"basis_points": 1000},
        {"revenue": "0.01"},
        [
            "10 % of 0.01 USD is exactly 0.001 USD.",
            "Rounded half-even to 2 decimals: 0.00 USD.",
            "So nothing is earned.",
        ],
    ),
    "net, where nothing is left": (
        {"basis_points": 1000, "basis": "net_of_tax_and_shipping"},
        {"revenue": "20", "properties": '{"tax": "20.00"}'},
        [
            "It pays on 20.00 USD less 20.00 USD tax and 0.00 USD shipping: 0.00 USD.",
            "10 % of 0.00 USD is exactly 0.00 USD.",
            "So nothing is earned.",
        ],
    ),
    "with a maximum of nothing": (
        {"basis_points": 1000, "maximum": "0", "currency": "USD"},
        {"revenue": "20"},
        [
            "10 % of 20.00 USD is exactly 2.00 USD.",
            "The rule's maximum of 0.00 USD makes it 0.00 USD.",
            "So nothing is earned.",
        ],
    ),
    "fixed": ({"fixed": "7.5", "currency": "USD"}, {"revenue": "20"}, ["It pays a fixed 7.50 USD."]),
    "in yen": (
        {"basis_points": 1500},
        {"revenue": "999", "currency": "JPY"},
        ["15 % of 999 JPY is exactly 149.85 JPY.", "Rounded half-even to 0 decimals: 150 JPY."],
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_the_arithmetic_is_told(story: Story, why: Why, case: str) -> None:
    rule, payment, expected = RULES[case]
    story.partner("ana")
    story.declare(commission_rules=[story.of_client(name="r", offer="main", **rule)])
    story.click("k", "ana", -2)
    story.pay("pi_1", -1, click_id="k", **payment)
    assert told(why("pi_1"), "What is earned")[1:] == expected


def test_a_step_of_the_month_is_told(story: Story, why: Why) -> None:
    story.partner("ana")
    steps = [{"after": 1, "basis_points": 2000}]
    story.declare(commission_rules=[story.of_client(name="r", offer="main", basis_points=1000, tiers=steps)])
    start = (story.time(0).replace(day=1) - dt.timedelta(days=1)).replace(day=3)
    story.click("k", "ana", start)
    for n in (1, 2):
        story.pay(f"pi_{n}", start + dt.timedelta(hours=n), click_id="k")
    assert told(why("pi_2"), "What is earned")[1:] == [
        "The month's step after 1 sales was reached before this sale.",
        "20 % of 20.00 USD is exactly 4.00 USD.",
    ]


def test_an_exchange_rate_is_told_and_so_is_a_missing_one(story: Story, why: Why) -> None:
    story.declare(partners=[story.of_client(ref=story.ref("eva"), offers=["main"], currency="EUR")])
    story.rule("tenth", 1000)
    story.click("k", "eva", -2)
    story.pay("pi_fx", -1, "12.34", click_id="k")
    missing = told(why("pi_fx"), "What is earned")
    assert missing == [
        "Nothing yet: the rule tenth applies, and an exchange rate of that day or the 7 before is missing."
    ]
    day = story.time(-1).date()
    rates.write(story.client, {(day, "EUR"): Decimal(1), (day, "USD"): Decimal("1.25")}, "EUR", "rates.csv")
    assert told(why("pi_fx"), "What is earned")[1:] == [
        "10 % of 12.34 USD is exactly 1.234 USD; at the day's rate of 0.8 that is 0.9872 EUR.",
        "Rounded half-even to 2 decimals: 0.99 EUR.",
    ]


def test_a_step_of_the_month_that_pays_nothing_is_told(story: Story, why: Why) -> None:
    story.partner("ana")
    steps = [{"after": 15, "basis_points": 0}]
    rule = {"basis_points": 1000, "tiers": steps, "tier_by": "revenue"}
    story.declare(commission_rules=[story.of_client(name="r", offer="main", **rule)])
    start = (story.time(0).replace(day=1) - dt.timedelta(days=1)).replace(day=3)
    story.click("k", "ana", start)
    for n in (1, 2):
        story.pay(f"pi_{n}", start + dt.timedelta(hours=n), click_id="k")
    assert told(why("pi_2"), "What is earned")[1:] == [
        "The month's step after 15 USD was reached before this sale.",
        "0 % of 20.00 USD is exactly 0.00 USD.",
        "So nothing is earned.",
    ]


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        (12, "Nothing yet: the rule r applies, and an exchange rate of that day or the 7 before is missing."),
        (1, "Nothing: the rule r pays renewals for 1 month after the first payment, that of {first}."),
    ],
)
def test_a_renewal_says_whether_it_waits_for_a_rate_or_comes_too_late(
    story: Story, why: Why, months: int, expected: str
) -> None:
    story.declare(partners=[story.of_client(ref=story.ref("eva"), offers=["main"], currency="CHF")])
    story.rule("r", 1000, renewal_months=months)
    story.click("k", "eva", -50)
    story.pay("in_1", -45, click_id="k", currency="NOK", **OF_SUBSCRIPTION)
    story.pay("in_2", -3, currency="NOK", **OF_SUBSCRIPTION, **RENEWAL)
    assert told(why("in_2"), "What is earned") == [expected.format(first=f"{story.time(-45):%Y-%m-%d}")]


def test_a_rejection_of_before_there_was_a_line_says_so(shop: Story, why: Why) -> None:
    ana = shop.ref("ana")
    shop.click("k", "ana", -2)
    shop.client.insert(
        "reviews",
        [(shop.client_id, "pi_rejected", ana, False, [], "")],
        column_names=["client_id", "conversion_key", "partner_ref", "approved", "codes", "note"],
    )
    shop.pay("pi_rejected", -1, click_id="k")
    assert told(why("pi_rejected"), "What is earned") == [
        "Nothing: the rule tenth applies, and the commission was rejected in a review."
    ]


def test_a_commission_that_the_worker_has_still_to_write_is_told(shop: Story, why: Why) -> None:
    shop.declare(partners=[shop.of_client(ref=shop.ref("eva"), offers=["main"], currency="SEK")])
    shop.click("k", "eva", -2)
    shop.pay("pi_late", -1, "10.00", click_id="k", currency="DKK")
    shop.settle()
    day = shop.time(-1).date()
    shop.client.insert("rates", [(day, "DKK", 8), (day, "SEK", 10)], column_names=["day", "currency", "rate"])
    assert told(why("pi_late"), "What is earned")[1:] == [
        "10 % of 10.00 DKK is exactly 1.00 DKK; at the day's rate of 1.25 that is 1.25 SEK.",
        "Nothing yet: the worker has still to write it.",
    ]


def test_a_commission_that_was_taken_back_for_want_of_a_rate_is_not_told_as_earned(shop: Story, why: Why) -> None:
    shop.declare(partners=[shop.of_client(ref=shop.ref("eva"), offers=["main"], currency="USD")])
    shop.click("k", "eva", -2)
    shop.pay("pi_back", -1, click_id="k")
    assert told(why("pi_back"), "What is earned")[-1] == "10 % of 20.00 USD is exactly 2.00 USD."
    since = {"valid_from": shop.time(-9)}
    shop.declare(commission_rules=[shop.of_client(name="r", offer="main", fixed="5", currency="THB", **since)])
    assert told(why("pi_back"), "What is earned") == [
        "Nothing yet: the rule r applies, and an exchange rate of that day or the 7 before is missing."
    ]


def test_a_sale_that_no_rule_pays_for_says_so(story: Story, why: Why) -> None:
    story.partner("ana")
    story.rule("renewals", 1000, applies_to=["renewal"])
    story.click("k", "ana", -2)
    story.pay("pi_1", -1, click_id="k")
    assert told(why("pi_1"), "What is earned") == [
        f"Nothing: no commission rule of the offer main pays {story.ref('ana')} for a first payment of that time."
    ]


def test_a_test_payment_earns_nothing(shop: Story, why: Why) -> None:
    shop.pay("pi_test", -1, is_test=True)
    assert "It was made in test mode: it earns nothing." in why("pi_test")


def test_a_payment_is_found_by_any_of_its_ids(shop: Story, why: Why) -> None:
    shop.pay("in_9", -1, refs=["pi_9", "ch_9", "cs_9"], customer_ref="cus_9")
    whole = why("in_9")
    for name in ("order-in_9", "pi_9", "ch_9", "cs_9", "cus_9"):
        assert why(name) == whole


def test_what_is_not_known_is_an_error(shop: Story) -> None:
    with pytest.raises(Unknown, match="no payment of any client is known by in_0; expected a conversion key"):
        find.payments(shop.client, "in_0")
    with pytest.raises(Unknown, match="there is no client nobody"):
        find.payments(shop.client, "in_0", "nobody")
    refund = {"event_type": "refund", "event_name": "refund", "refs": ["ch_lost"], "revenue": "-1", "currency": "USD"}
    shop.insert({**refund, "properties": '{"refund": "re_9", "amount": "1", "charge": "ch_lost"}'})
    with pytest.raises(
        Unknown, match="ch_lost was named by a refund or dispute, and no payment has come in for it yet"
    ):
        find.payments(shop.client, "ch_lost", shop.slug)
