"""DESIGN §8, row by row: promo codes, the customer's partner, the order of methods, first click, a person's devices."""

from __future__ import annotations

from typing import Any

Story = Any  # of conftest.py, which cannot be imported
NOBODY = ("none", "", "")
RENEWAL = {"event_type": "custom", "event_name": "subscription_renewal"}


def offer(story: Story, **terms: Any) -> None:
    """The offer ``own``, which had these terms from the beginning."""
    story.declare(offers=[story.of_client(slug="own", landing_page="https://x.test/", **terms)])


def code(story: Story, name: str, partner: str, **fields: Any) -> None:
    story.declare(promo_codes=[story.of_client(code=name, partner=story.ref(partner), **fields)])


def test_promo_code_wins_over_the_click_that_the_payment_names(story: Story) -> None:
    code(story, "Cy10", "cy")
    story.click("K1", "ana", -2)
    story.pay("pi_1", click_id="K1", promo_code="CY10")
    story.pay("pi_2", click_id="K1", promo_code="cy10")
    story.pay("pi_3", click_id="K1", promo_code="CY1")
    assert story.winners() == {
        "pi_1": ("promo_code", "", "cy"),
        "pi_2": ("promo_code", "", "cy"),
        "pi_3": ("click_id", "K1", "ana"),
    }
    reason = story.attributions()["pi_1"].reason
    assert reason["evidence"] == "the promotion code CY10 is the partner's"
    assert reason["candidates"] == f"click_id K1 {story.ref('ana')}, promo_code CY10 {story.ref('cy')}"


def test_promo_code_goes_before_a_click_of_the_same_rank(story: Story) -> None:
    """Two offers, each of which puts its own method first: then the order of DESIGN §8 decides."""
    offer = {"landing_page": "https://x.test/", "methods": ["click_id"]}
    story.declare(offers=[story.of_client(slug="alt", **offer)])
    code(story, "CY10", "cy", offer="main")
    story.click("K1", "ana", -2, offer="alt")
    story.pay("pi_1", click_id="K1", promo_code="CY10")
    assert story.winners() == {"pi_1": ("promo_code", "", "cy")}


def test_promo_code_of_another_client_or_a_paused_partner_does_not_count(story: Story, another_story: Story) -> None:
    code(another_story, "HERS", "ana")
    code(story, "BO10", "bo")
    story.partner("bo", status="paused")
    story.pay("pi_1", promo_code="HERS")
    story.pay("pi_2", 0.1, promo_code="BO10")
    assert story.winners() == {"pi_1": NOBODY, "pi_2": NOBODY}


def test_promo_code_that_is_registered_after_the_sale_finds_it(story: Story) -> None:
    story.rule("ten", 1000)
    story.pay("pi_1", -1, promo_code="LATE")
    assert story.winners() == {"pi_1": NOBODY}
    code(story, "LATE", "bo")
    assert story.winners() == {"pi_1": ("promo_code", "", "bo")}
    assert story.sums() == {("pi_1", "bo"): 2}


def test_promo_code_may_be_of_another_offer_than_the_partners_first(story: Story) -> None:
    story.declare(offers=[story.of_client(slug="side", landing_page="https://x.test/")])
    story.rule("of-main", 1000)
    story.rule("of-side", 3000, offer="side")
    code(story, "MAIN", "ana")
    code(story, "SIDE", "ana", offer="side")
    story.pay("pi_1", promo_code="MAIN")
    story.pay("pi_2", promo_code="SIDE")
    story.settle()
    assert story.sums() == {("pi_1", "ana"): 2, ("pi_2", "ana"): 6}


def test_renewal_belongs_to_the_partner_of_the_subscriptions_first_payment(story: Story) -> None:
    story.click("K1", "ana", -40)
    story.click("K2", "bo", -35)
    story.click("K3", "cy", -1)
    story.insert(
        story.a_payment("in_1", -39, click_id="K1", customer_ref="cus_1", properties={"subscription": "sub_1"}),
        story.a_payment("in_2", -34, click_id="K2", customer_ref="cus_1", properties={"subscription": "sub_2"}),
        story.a_payment(
            "in_3", 0, click_id="K3", customer_ref="cus_1", properties={"subscription": "sub_2"}, **RENEWAL
        ),
        story.a_payment("in_4", 0, customer_ref="cus_1", properties={"subscription": "sub_3"}, **RENEWAL),
    )
    found = story.winners()
    assert found["in_3"] == ("customer", "", "bo")
    assert found["in_4"] == ("customer", "", "ana")
    assert story.attributions()["in_3"].reason["evidence"] == "the partner brought the customer with in_2"


def test_renewal_of_nobodys_customer_is_looked_at_like_a_first_payment(story: Story) -> None:
    story.click("K3", "cy", -1)
    story.insert(
        story.a_payment("in_1", -39, customer_ref="cus_1"),
        story.a_payment("in_2", 0, click_id="K3", customer_ref="cus_1", **RENEWAL),
    )
    assert story.winners() == {"in_1": NOBODY, "in_2": ("click_id", "K3", "cy")}
    assert story.attributions()["in_2"].payment == "renewal"


def test_another_purchase_of_the_customer_asks_for_the_customers_partner_last(story: Story) -> None:
    story.click("K1", "ana", -40)
    story.click("K2", "bo", -1)
    story.insert(
        story.a_payment("pi_1", -39, click_id="K1", customer_ref="cus_1"),
        story.a_payment("pi_2", 0, click_id="K2", customer_ref="cus_1"),
        story.a_payment("pi_3", 0, customer_ref="cus_1"),
    )
    found = story.winners()
    assert found["pi_2"] == ("click_id", "K2", "bo")
    assert found["pi_3"] == ("customer", "", "ana")
    assert story.attributions()["pi_2"].payment == "first"


def test_first_payment_that_comes_in_last_gives_the_renewals_their_partner(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -40)
    story.insert(*(story.a_payment(f"in_{n}", -n, customer_ref="cus_1", **RENEWAL) for n in (1, 2, 3)))
    assert set(story.winners().values()) == {NOBODY}
    story.pay("in_9", -9, click_id="K1", customer_ref="cus_1")
    assert story.winners() == dict.fromkeys(("in_1", "in_2", "in_3"), ("customer", "", "ana")) | {
        "in_9": ("click_id", "K1", "ana")
    }
    assert set(story.sums().values()) == {2}


def test_click_of_a_renewal_that_lost_to_the_customers_partner_brings_nobody_later(story: Story) -> None:
    story.click("K1", "ana", -40)
    story.click("K2", "bo", -12)
    of_subscription = {"customer_ref": "cus_1", "properties": {"subscription": "sub_1"}}
    story.insert(
        story.a_payment("pi_0", -39, click_id="K1", customer_ref="cus_1"),
        story.a_payment("in_1", -30, **of_subscription),
        story.a_payment("in_2", -10, click_id="K2", **of_subscription, **RENEWAL),
        story.a_payment("in_3", -1, **of_subscription, **RENEWAL),
    )
    by_customer = ("customer", "", "ana")
    assert story.winners() == {"pi_0": ("click_id", "K1", "ana")} | dict.fromkeys(("in_1", "in_2", "in_3"), by_customer)


def test_answer_that_would_have_lost_to_one_that_lost_itself_brings_the_customer(story: Story) -> None:
    offer(story, methods=["customer", "click_id"], customer_window_days=30)
    for click, partner, at, of in (("K1", "ana", -60, "own"), ("K2", "bo", -41, "main"), ("K3", "cy", -11, "main")):
        story.click(click, partner, at, offer=of)
    of_subscription = {"customer_ref": "cus_1", "properties": {"subscription": "sub_1"}}
    story.insert(
        story.a_payment("pi_0", -59, click_id="K1", customer_ref="cus_1"),
        # ana is remembered: it is not bo's, who brings nobody
        story.a_payment("in_1", -40, click_id="K2", **of_subscription),
        # ana is forgotten: it is cy's
        story.a_payment("in_2", -10, click_id="K3", **of_subscription, **RENEWAL),
        story.a_payment("in_3", -1, **of_subscription, **RENEWAL),
    )
    assert story.winners() == {
        "pi_0": ("click_id", "K1", "ana"),
        "in_1": ("customer", "", "ana"),
        "in_2": ("click_id", "K3", "cy"),
        "in_3": ("customer", "", "cy"),
    }


def test_answer_of_a_relatives_relative_is_corrected(story: Story) -> None:
    """By subscription and by customer, the first payment and the last have nothing to do with each other."""
    offer(story, methods=["customer", "click_id"])
    story.click("K2", "bo", -31, offer="own")
    story.insert(
        story.a_payment("in_1", -40, click_id="K1", properties={"subscription": "sub_1"}),
        story.a_payment(
            "in_2", -30, click_id="K2", customer_ref="cus_1", properties={"subscription": "sub_1"}, **RENEWAL
        ),
        story.a_payment("in_3", -1, customer_ref="cus_1"),
    )
    assert story.winners()["in_3"] == ("customer", "", "bo")
    story.click("K1", "ana", -41)  # late: now in_2 is the renewal of ana's customer, and brings nobody
    assert story.winners() == {"in_1": ("click_id", "K1", "ana"), "in_2": ("customer", "", "ana"), "in_3": NOBODY}


def test_partner_is_remembered_for_the_offers_customer_window(story: Story) -> None:
    offer(story, customer_window_days=30)
    story.click("K1", "ana", -60, offer="own")
    story.insert(
        story.a_payment("pi_1", -59, click_id="K1", customer_ref="cus_1"),
        story.a_payment("pi_2", -29, customer_ref="cus_1"),
        story.a_payment("pi_3", -28.999, customer_ref="cus_1"),
    )
    found = story.winners()
    assert found["pi_2"] == ("customer", "", "ana")
    assert found["pi_3"] == NOBODY


def test_paused_partner_is_not_remembered_while_paused(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.partner("ana", status="paused")
    story.pay("pi_1", -1, click_id="K1", customer_ref="cus_1")
    story.pay("pi_2", 0.1, customer_ref="cus_1")
    assert story.winners() == {"pi_1": ("click_id", "K1", "ana"), "pi_2": NOBODY}


def test_offer_says_which_methods_count_and_in_which_order(story: Story) -> None:
    offer(story, methods=["click_id", "promo_code", "customer"])
    code(story, "BO10", "bo", offer="own")
    story.click("K1", "ana", -40, offer="own")
    story.click("K2", "cy", -2, offer="own")
    story.seen("phone", click="K2")
    story.pay("named", -39, click_id="K1", promo_code="BO10", customer_ref="cus_1")
    story.pay("promoted", device_id="phone", promo_code="BO10", customer_ref="cus_1")
    story.pay("known", device_id="phone", customer_ref="cus_1")
    story.pay("device", device_id="phone")
    assert story.winners() == {
        "named": ("click_id", "K1", "ana"),
        "promoted": ("promo_code", "", "bo"),
        "known": ("customer", "", "ana"),
        "device": NOBODY,
    }


def test_each_method_has_a_window_of_its_own(story: Story) -> None:
    offer(story, click_window_days=30, device_window_days=7)
    story.click("K1", "ana", -8, offer="own")
    story.seen("phone", click="K1", at=-8)
    story.pay("named", click_id="K1")
    story.pay("late", device_id="phone")
    story.pay("in-time", -1, device_id="phone")
    assert story.winners() == {
        "named": ("click_id", "K1", "ana"),
        "late": NOBODY,
        "in-time": ("device", "K1", "ana"),
    }


def test_first_click_earns_where_the_offer_says_so(story: Story) -> None:
    offer(story, model="first_click")
    for click, partner, at, where in (
        ("K1", "ana", -5, "main"),
        ("K2", "bo", -4, "own"),
        ("K3", "cy", -3, "own"),
        ("K4", "ana", -2, "own"),
    ):
        story.click(click, partner, at, offer=where)
        story.seen("phone", click=click, at=at)
    story.pay("named", click_id="K4")
    story.pay("seen", device_id="phone")
    story.pay("one", -2.5, click_id="K3")
    assert story.winners() == {
        "named": ("device", "K2", "bo"),
        "seen": ("device", "K2", "bo"),
        "one": ("device", "K2", "bo"),
    }


def test_person_is_known_by_another_address_on_the_same_device(story: Story) -> None:
    """work@ is seen on the phone, the phone also with home@, and home@ on the laptop that clicked."""
    work, home = "a" * 64, "b" * 64
    story.click("K1", "ana", -3)
    story.seen("laptop", click="K1", at=-3)
    story.seen("laptop", email=home)
    story.seen("phone", email=home)
    story.seen("phone", email=work)
    story.pay("pi_1", email_hash=work)
    assert story.winners() == {"pi_1": ("device", "K1", "ana")}
    assert story.attributions()["pi_1"].reason["evidence"].endswith("known by another address of the same person")


def test_click_on_a_nearer_device_wins_over_a_later_one_of_the_same_person(story: Story) -> None:
    """Two people share the phone: what the other one did on the laptop comes second."""
    mine, other = "a" * 64, "b" * 64
    story.click("K1", "ana", -5)
    story.click("K2", "bo", -1)
    story.seen("phone", click="K1", at=-5)
    story.seen("phone", email=mine)
    story.seen("phone", email=other)
    story.seen("laptop", email=other)
    story.seen("laptop", click="K2")
    story.pay("pi_1", email_hash=mine)
    assert story.winners() == {"pi_1": ("device", "K1", "ana")}


def test_address_that_is_flooded_with_devices_keeps_those_it_had(story: Story) -> None:
    victim = "c" * 64
    story.click("K1", "ana", -5)
    story.click("K2", "bo", -1)
    story.seen("own", click="K1", at=-5)
    story.seen("own", email=victim, at=-5)
    story.insert(*(story.a_beacon(f"d{n:02}", click="K2", email=victim, at=-0.5) for n in range(40)))
    story.pay("pi_1", email_hash=victim)
    story.winners()
    touches = story.client.query(
        "SELECT count() FROM dependencies WHERE client_id = {client:UInt32} AND startsWith(id, 'd')",
        parameters={"client": story.client_id},
    ).result_rows
    assert touches == [(19,)]
    assert "K1" in story.attributions()["pi_1"].reason["candidates"]


def test_click_that_is_told_of_late_is_found_on_its_device(story: Story) -> None:
    story.seen("phone", click="K1", at=-3)
    story.pay("pi_1", device_id="phone")
    assert story.winners() == {"pi_1": NOBODY}
    story.click("K1", "ana", -3)
    assert story.winners() == {"pi_1": ("device", "K1", "ana")}


def test_touches_of_a_conversion_are_kept_in_their_order(story: Story) -> None:
    for click, partner, at in (("K2", "bo", -1), ("K1", "ana", -3)):
        story.click(click, partner, at)
        story.seen("phone", click=click, at=at)
    story.pay("pi_1", click_id="K2")
    story.settle()
    [[touches]] = story.client.query(
        "SELECT touches FROM attributions WHERE client_id = {client:UInt32}", parameters={"client": story.client_id}
    ).result_rows
    kept = [tuple(t.values())[1:] if isinstance(t, dict) else t[1:] for t in touches]
    assert kept == [("K1", story.ref("ana"), "main", "device"), ("K2", story.ref("bo"), "main", "click_id")]
