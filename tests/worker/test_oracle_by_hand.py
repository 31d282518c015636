"""The oracle itself, case by case: each expected value was worked out by hand, before there was a worker to agree with."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from relo_ingest.registry import model
from worker.oracle.commission import add_months
from worker.oracle.facts import DAY, HOUR, MINUTE, Event, Review, Version, World, milliseconds, moment
from worker.oracle.settle import Answer, settle

T = milliseconds(dt.datetime(2025, 5, 20, 12, tzinfo=dt.UTC))
EMAIL = "e" * 64
RATES = {
    "USD": {dt.date(2025, 5, 19): Fraction(11, 10)},
    "EUR": {dt.date(2025, 5, 13): Fraction(1)},
    "JPY": {dt.date(2025, 5, 20): Fraction(163), dt.date(2025, 5, 21): Fraction(170)},
    "KWD": {dt.date(2025, 5, 12): Fraction(1, 3)},
}


class Shop:
    """One client with the offer ``main`` and the partners ana and bo; 10 % of every payment. ``at`` is days from T."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str, int], model.Entry] = {}
        self.events: list[Event] = []
        self.reviews: list[Review] = []
        self.offer()
        self.partner("ana")
        self.partner("bo")
        self.rule("all", basis_points=1000)

    def _entry(self, entry: model.Entry, since: float) -> None:
        self.versions[entry.kind, entry.key, T + round(since * DAY)] = entry

    def offer(self, slug: str = "main", since: float = -500, **terms: Any) -> None:
        self._entry(model.Offer(client="shop", slug=slug, landing_page="https://x.test/", **terms), since)

    def partner(self, ref: str, since: float = -500, offers: tuple[str, ...] = ("main",), **terms: Any) -> None:
        self._entry(model.Partner(client="shop", ref=ref, offers=offers, **terms), since)

    def rule(self, name: str, since: float = -500, offer: str = "main", **terms: Any) -> None:
        self._entry(model.CommissionRule(client="shop", name=name, offer=offer, **terms), since)

    def code(self, code: str, partner: str, offer: str = "") -> None:
        self._entry(model.PromoCode(client="shop", code=code, partner=partner, offer=offer), -500)

    def tell(self, event_type: str, event_name: str, at: float, *, ms: int = 0, **fields: Any) -> None:
        event_id = f"e{len(self.events)}"
        time = T + round(at * DAY) + ms
        fields = {"event_id": event_id, "event_time": time, "event_name": event_name, **fields}
        self.events.append(Event(event_type=event_type, **fields))

    def click(self, click_id: str, partner: str, at: float = -1, offer: str = "main", *, ms: int = 0) -> None:
        self.tell("click", "click", at, ms=ms, click_id=click_id, partner_ref=partner, offer=offer)

    def seen(self, device: str, click: str = "", email: str = "", at: float = -1, *, ms: int = 0) -> None:
        self.tell("page", "page", at, ms=ms, device_id=device, click_id=click, email_hash=email)

    def pay(self, key: str = "pi_1", amount: str = "20", at: float = 0, **fields: Any) -> None:
        fields = {"refs": (key,), "currency": "USD", **fields}
        self.tell("purchase", "purchase", at, conversion_key=key, revenue=Decimal(amount), **fields)

    def renew(self, key: str, amount: str = "20", at: float = 0, *, ms: int = 0, click_id: str = "") -> None:
        fields: dict[str, Any] = {"customer_ref": "cus_1", "refs": (key,), "currency": "USD", "click_id": click_id}
        fields |= {"conversion_key": key, "revenue": Decimal(amount), "properties": {"subscription": "sub_1"}}
        self.tell("custom", "subscription_renewal", at, ms=ms, **fields)

    def refund(self, payment: str, refund: str, amount: str, name: str = "refund") -> None:
        properties = {"refund": refund, "amount": amount, "charge": "ch_1"}
        self.tell("refund", name, 1, refs=(payment, "ch_1", refund), currency="USD", properties=properties)

    def dispute(self, payment: str, amount: str, *names: str) -> None:
        for day, name in enumerate(names):
            properties = {"dispute": "dp_1", "amount": amount}
            self.tell("chargeback", name, day + 1, refs=(payment, "dp_1"), currency="USD", properties=properties)

    def settled(self) -> Answer:
        versions = [Version(since, entry) for (_, _, since), entry in self.versions.items()]
        return settle(World(1, "shop", versions, self.events, self.reviews, RATES))

    def whose(self, key: str = "pi_1") -> tuple[str, ...]:
        """(method, partner, click id)"""
        _, method, partner, _, click_id = self.settled().attributions[key]
        return method, partner, click_id

    def payments(self) -> dict[str, str]:
        return {key: answer[0] for key, answer in self.settled().attributions.items()}

    def earned(self, key: str = "pi_1") -> list[tuple[str, str, str, str]]:
        """(partner, currency, earned, reversed)"""
        ledger = self.settled().ledger.items()
        return [(partner, currency, f"{a}", f"{b}") for (k, partner, currency), (a, b) in ledger if k == key]


NOBODY = ("none", "", "")


@pytest.fixture
def shop() -> Shop:
    return Shop()


# 0. The registry in force


def test_first_version_holds_for_the_time_before_it(shop: Shop) -> None:
    shop.versions = {(k, key, T + 9 * DAY): entry for (k, key, _), entry in shop.versions.items()}
    shop.click("K1", "ana")
    shop.pay(click_id="K1")
    assert shop.whose() == ("click_id", "ana", "K1")


def test_version_applies_from_its_moment_on(shop: Shop) -> None:
    shop.rule("all", since=0, basis_points=2000)
    shop.click("K1", "ana", at=-2)
    shop.pay("before", click_id="K1", at=-1)
    shop.pay("with", click_id="K1", at=0)
    assert shop.earned("before") == [("ana", "USD", "2.00", "0.00")]
    assert shop.earned("with") == [("ana", "USD", "4.00", "0.00")]


# 1. Conversions


def test_what_is_paid_for(shop: Shop) -> None:
    started: dict[str, Any] = {"customer_ref": "cus_1", "properties": {"subscription": "sub_1"}}
    shop.pay("start", at=-30, **started)
    shop.renew("again")
    shop.renew("nothing", "0", at=1)
    shop.pay("once more", customer_ref="cus_1", at=2)
    shop.tell("lead", "lead", 0, conversion_key="lead:1", revenue=Decimal(5))
    shop.pay("test", is_test=True)
    assert shop.payments() == {
        "start": "first", "again": "renewal", "nothing": "trial", "once more": "first", "lead:1": "lead",
    }  # fmt: skip


def test_first_money_after_a_trial_is_a_first_payment_whatever_the_invoice_says(shop: Shop) -> None:
    shop.pay("trial", "0", at=-7, customer_ref="cus_1", properties={"subscription": "sub_1"})
    shop.renew("first money")
    shop.renew("second", at=30)
    assert shop.payments() == {"trial": "trial", "first money": "first", "second": "renewal"}


def test_renewal_without_a_payment_before_it_is_a_first_payment(shop: Shop) -> None:
    shop.renew("alone")
    assert shop.payments() == {"alone": "first"}


def test_link_makes_one_payment_of_two(shop: Shop) -> None:
    shop.click("K1", "ana")
    shop.pay("pi_1", click_id="K1", refs=("pi_1", "cs_1"))
    invoice: dict[str, Any] = {"conversion_key": "in_1", "refs": ("in_1",), "currency": "USD"}
    shop.tell("custom", "invoice_payment", 0, revenue=Decimal(20), **invoice)
    assert set(shop.payments()) == {"pi_1", "in_1"}
    shop.tell("custom", "invoice_payment_linked", 0, **invoice | {"refs": ("in_1", "pi_1")})
    assert shop.payments() == {"in_1": "first"}
    assert shop.whose("in_1") == ("click_id", "ana", "K1")


# 2. Evidence


def test_device_of_the_address_and_a_device_that_shares_one_with_it(shop: Shop) -> None:
    shop.click("K1", "ana")
    shop.seen("phone", click="K1")
    shop.seen("phone", email="f" * 64)
    shop.seen("laptop", email="f" * 64)
    shop.seen("laptop", email=EMAIL)
    shop.pay(email_hash=EMAIL)
    assert shop.whose() == ("device", "ana", "K1")
    shop.click("K2", "bo", at=-3)
    shop.seen("laptop", click="K2")
    assert shop.whose() == ("device", "bo", "K2"), "the device of the sale's own address is closer"


def test_click_id_of_a_browser_leads_to_the_clicks_of_its_device(shop: Shop) -> None:
    shop.click("K1", "ana")
    shop.seen("phone", click="K1")
    shop.seen("phone", click="BROWSER")
    shop.pay(click_id="BROWSER")
    assert shop.whose() == ("device", "ana", "K1")


@pytest.mark.parametrize(("ms", "whose"), [(0, ("device", "ana", "K1")), (1, NOBODY)])
def test_what_is_seen_within_72_hours_counts(shop: Shop, ms: int, whose: tuple[str, ...]) -> None:
    shop.click("K1", "ana")
    shop.seen("phone", click="K1", at=3, ms=ms)
    shop.pay(device_id="phone")
    assert shop.whose() == whose


@pytest.mark.parametrize(
    ("at", "ms", "counts"),
    [(-60, 0, True), (-60, -1, False), (0, 5 * MINUTE, True), (0, 5 * MINUTE + 1, False)],
    ids=["edge", "old", "skewed", "later"],
)
def test_window_of_a_click(shop: Shop, at: float, ms: int, counts: bool) -> None:
    shop.click("K1", "ana", at=at, ms=ms)
    shop.pay(click_id="K1")
    assert shop.whose() == (("click_id", "ana", "K1") if counts else NOBODY)


def test_devices_have_a_window_of_their_own(shop: Shop) -> None:
    shop.offer(device_window_days=7)
    shop.click("K1", "ana", at=-8)
    shop.seen("phone", click="K1", at=-8)
    shop.pay("by device", device_id="phone")
    shop.pay("by click", click_id="K1")
    assert shop.whose("by device") == NOBODY
    assert shop.whose("by click") == ("click_id", "ana", "K1")


@pytest.mark.parametrize(("place", "counts"), [(4, True), (5, False)])
def test_five_addresses_of_a_device_are_looked_at(shop: Shop, place: int, counts: bool) -> None:
    shop.click("K1", "ana", at=-9)
    shop.seen("friend", click="K1", at=-9)
    for n in range(7):
        shop.seen("phone", email=f"{n}" * 64, ms=n)
    shop.seen("friend", email=f"{place}" * 64, at=-9)
    shop.pay(device_id="phone")
    assert (shop.whose() != NOBODY) is counts


@pytest.mark.parametrize(("place", "counts"), [(19, True), (20, False)])
def test_twenty_devices_of_an_address_are_looked_at(shop: Shop, place: int, counts: bool) -> None:
    shop.click("K1", "ana", at=-9)
    for n in range(22):
        shop.seen(f"phone{n:02}", email=EMAIL)
    shop.seen(f"phone{place:02}", click="K1", at=-9)
    shop.pay(email_hash=EMAIL)
    assert (shop.whose() != NOBODY) is counts


@pytest.mark.parametrize(("others", "counts"), [(199, True), (200, False)])
def test_two_hundred_clicks_of_a_device_are_looked_at(shop: Shop, others: int, counts: bool) -> None:
    shop.click("K1", "ana", at=-9)
    shop.seen("phone", click="K1", at=-9)
    for n in range(others):
        shop.seen("phone", click=f"NOBODY{n}")
    shop.pay(device_id="phone")
    assert (shop.whose() != NOBODY) is counts


# 3. Candidates and winners


def test_promo_code_then_click_then_device(shop: Shop) -> None:
    shop.code("Save", "ana")
    shop.click("K1", "bo")
    shop.click("K2", "ana")
    shop.seen("phone", click="K2")
    shop.pay("all", promo_code="SAVE", click_id="K1", device_id="phone")
    shop.pay("no code", promo_code="OTHER", click_id="K1", device_id="phone")
    shop.pay("device", device_id="phone")
    assert shop.whose("all") == ("promo_code", "ana", "")
    assert shop.whose("no code") == ("click_id", "bo", "K1")
    assert shop.whose("device") == ("device", "ana", "K2")


def test_offer_orders_and_leaves_out_methods(shop: Shop) -> None:
    shop.offer(methods=("device", "promo_code"))
    shop.code("SAVE", "ana")
    shop.click("K1", "bo")
    shop.seen("phone", click="K1")
    shop.pay("device first", promo_code="SAVE", device_id="phone")
    shop.pay("no click_id", click_id="K1")
    assert shop.whose("device first") == ("device", "bo", "K1")
    assert shop.whose("no click_id") == NOBODY, "a click that the sale names is no click of a device"


def test_last_click_and_of_equal_times_the_larger_id(shop: Shop) -> None:
    for click, partner, at in (("K9", "ana", -3), ("K1", "bo", -1), ("K2", "ana", -1)):
        shop.click(click, partner, at)
        shop.seen("phone", click=click)
    shop.pay(device_id="phone")
    assert shop.whose() == ("device", "ana", "K2")


def test_first_click_of_the_winners_offer(shop: Shop) -> None:
    shop.offer(model="first_click")
    shop.offer("alt")
    for click, partner, at, offer in (("K1", "bo", -9, "alt"), ("K2", "ana", -5, "main"), ("K3", "bo", -1, "main")):
        shop.click(click, partner, at, offer)
        shop.seen("phone", click=click)
    shop.pay(click_id="K3", device_id="phone")
    assert shop.whose() == ("device", "ana", "K2")


def test_paused_partner_gets_nothing_of_that_time(shop: Shop) -> None:
    shop.partner("ana", since=-2, status="paused")
    shop.partner("ana", since=2)
    shop.click("K1", "ana", at=-4)
    for key, at in (("before", -3), ("meanwhile", 0), ("after", 3)):
        shop.pay(key, at=at, click_id="K1")
    assert [shop.whose(key)[0] for key in ("before", "meanwhile", "after")] == ["click_id", "none", "click_id"]


def test_customer_comes_back_for_as_long_as_the_offer_remembers(shop: Shop) -> None:
    shop.offer(customer_window_days=30)
    shop.click("K1", "ana")
    shop.pay("first", click_id="K1", customer_ref="cus_1")
    shop.pay("again", at=30, customer_ref="cus_1")
    shop.pay("too late", at=30.1, customer_ref="cus_1")
    assert shop.whose("again") == ("customer", "ana", "")
    assert shop.whose("too late") == NOBODY


def test_subscription_remembers_before_the_customer(shop: Shop) -> None:
    shop.click("K1", "ana", at=-9)
    shop.click("K2", "bo", at=-9)
    shop.pay("other", at=-8, click_id="K1", customer_ref="cus_1")
    shop.pay("start", at=-7, click_id="K2", customer_ref="cus_1", properties={"subscription": "sub_1"})
    shop.renew("again")
    assert shop.whose("again") == ("customer", "bo", "")


def test_renewal_takes_the_customers_partner_and_a_sale_its_own_click(shop: Shop) -> None:
    shop.click("K1", "ana", at=-9)
    shop.click("K2", "bo")
    shop.pay("start", at=-7, click_id="K1", customer_ref="cus_1", properties={"subscription": "sub_1"})
    shop.pay("sale", click_id="K2", customer_ref="cus_1")
    shop.renew("again", click_id="K2")
    assert shop.whose("again") == ("customer", "ana", "")
    assert shop.whose("sale") == ("click_id", "bo", "K2")
    shop.offer(methods=("customer", "click_id"))
    assert shop.whose("sale") == ("customer", "ana", ""), "where the offer puts the customer first"


def test_promo_code_goes_before_a_click_of_the_same_rank(shop: Shop) -> None:
    shop.offer("alt", methods=("click_id",))
    shop.code("SAVE", "ana")
    shop.click("K1", "bo", offer="alt")
    shop.pay(promo_code="SAVE", click_id="K1")
    assert shop.whose() == ("promo_code", "ana", "")


# 4. Commissions


def sold(shop: Shop, key: str = "pi_1", amount: str = "20", at: float = 0, **fields: Any) -> None:
    """A sale of ana's."""
    if not any(e.click_id == "KA" for e in shop.events):
        shop.click("KA", "ana", at=-20)
    shop.pay(key, amount, at, click_id="KA", **fields)


@pytest.mark.parametrize(("amount", "earned"), [("0.05", []), ("0.15", "0.02"), ("0.25", "0.02"), ("19.99", "2.00")])
def test_rounding_is_half_even_to_the_minor_unit(shop: Shop, amount: str, earned: Any) -> None:
    sold(shop, amount=amount)
    assert shop.earned() == ([("ana", "USD", earned, "0.00")] if earned else [])


@pytest.mark.parametrize(("sale", "earned"), [("15 JPY", "2"), ("0.025 KWD", "0.002"), ("25 USD", "2.50")])
def test_minor_units(shop: Shop, sale: str, earned: str) -> None:
    amount, currency = sale.split()
    sold(shop, amount=amount, currency=currency)
    assert [line[2] for line in shop.earned()] == [earned]


def test_rule_of_the_partner_then_the_latest_then_the_first_by_name(shop: Shop) -> None:
    sold(shop)
    shop.rule("b-later", basis_points=2000, valid_from=moment(T - DAY))
    shop.rule("a-later", basis_points=3000, valid_from=moment(T - DAY))
    assert shop.earned() == [("ana", "USD", "6.00", "0.00")]
    shop.rule("own", basis_points=500, partner="ana")
    assert shop.earned() == [("ana", "USD", "1.00", "0.00")]


def test_rule_begins_with_a_sale_and_has_ended_with_one(shop: Shop) -> None:
    sold(shop)
    shop.rule("ended", basis_points=5000, valid_from=moment(T - DAY), valid_to=moment(T))
    assert shop.earned() == [("ana", "USD", "2.00", "0.00")]
    shop.rule("begins", basis_points=4000, valid_from=moment(T))
    assert shop.earned() == [("ana", "USD", "8.00", "0.00")]


@pytest.mark.parametrize(("ms", "paid"), [(-1, True), (0, False)])
def test_renewals_are_paid_for_some_months_and_a_day(shop: Shop, ms: int, paid: bool) -> None:
    shop.rule("all", basis_points=1000, renewal_months=1)
    sold(shop, "start", customer_ref="cus_1", properties={"subscription": "sub_1"})
    shop.renew("again", at=32, ms=ms)  # 20 May → 20 June → 21 June
    assert shop.whose("again")[0] == "customer"
    assert bool(shop.earned("again")) is paid


def test_months_end_where_the_month_ends() -> None:
    january = milliseconds(dt.datetime(2025, 1, 31, 8, tzinfo=dt.UTC))
    assert moment(add_months(january, 1)) == dt.datetime(2025, 2, 28, 8, tzinfo=dt.UTC)
    assert moment(add_months(january, 13)) == dt.datetime(2026, 2, 28, 8, tzinfo=dt.UTC)
    assert moment(add_months(january, 11)) == dt.datetime(2025, 12, 31, 8, tzinfo=dt.UTC)


def test_tiers_count_the_sales_of_the_month_before(shop: Shop) -> None:
    tiers = model.Tier(after=1, basis_points=2000), model.Tier(after=2, basis_points=3000)
    shop.rule("all", basis_points=1000, tiers=tiers)
    for n, at in enumerate((-20, -2, -1, 0)):  # the first is of April
        sold(shop, f"pi_{n}", at=at)
    assert [shop.earned(f"pi_{n}")[0][2] for n in range(4)] == ["2.00", "2.00", "4.00", "6.00"]


def test_tiers_by_revenue_count_one_currency(shop: Shop) -> None:
    shop.rule("all", basis_points=1000, tier_by="revenue", tiers=(model.Tier(after=30, basis_points=2000),))
    sold(shop, "a", "20", at=-3)
    sold(shop, "b", "500", at=-2, currency="EUR")
    sold(shop, "c", "10", at=-1)
    sold(shop, "d", "20")
    assert [shop.earned(key)[0][2] for key in "abcd"] == ["2.00", "50.00", "1.00", "4.00"]


def test_fixed_amounts_of_leads_and_trials(shop: Shop) -> None:
    shop.rule("lead", fixed="1.5", currency="EUR", applies_to=("lead",))
    shop.rule("trial", fixed="2", currency="EUR", applies_to=("trial",))
    shop.click("KA", "ana")
    shop.tell("lead", "lead", 0, conversion_key="lead:1", click_id="KA")
    shop.pay("trial", "0", click_id="KA")
    assert shop.earned("lead:1") == [("ana", "EUR", "1.50", "0")]
    assert shop.earned("trial") == [("ana", "EUR", "2.00", "0")]


def test_partners_currency_at_the_rate_of_the_day(shop: Shop) -> None:
    shop.partner("ana", currency="JPY")
    sold(shop, amount="20.00")
    assert shop.earned() == [("ana", "JPY", "296", "0")]  # 2 × 163 / 1.1 = 296.36…


def test_rate_is_at_most_seven_days_old(shop: Shop) -> None:
    shop.partner("ana", currency="EUR")
    sold(shop, "a", "11")  # EUR is of 13 May
    sold(shop, "b", "11", at=1)
    assert shop.earned("a") == [("ana", "EUR", "1.00", "0.00")]
    assert shop.earned("b") == []
    assert shop.whose("b") == ("click_id", "ana", "KA")


def test_bounds_are_in_the_currency_of_the_rule(shop: Shop) -> None:
    shop.partner("ana", currency="JPY")
    shop.rule("all", basis_points=1000, minimum="1", maximum="5", currency="EUR")
    for key, amount in (("low", "1"), ("between", "20"), ("high", "100")):
        sold(shop, key, amount)
    assert [shop.earned(key)[0][2] for key in ("low", "between", "high")] == ["163", "296", "815"]


def test_net_of_tax_and_shipping_is_never_below_nothing(shop: Shop) -> None:
    shop.rule("all", basis_points=1000, basis="net_of_tax_and_shipping")
    sold(shop, "some", properties={"tax": "3", "shipping": "2"})
    sold(shop, "all of it", properties={"tax": "15", "shipping": "10"})
    assert shop.earned("some") == [("ana", "USD", "1.50", "0.00")]
    assert shop.earned("all of it") == []


def test_refunds_add_up_and_are_taken_back_in_proportion(shop: Shop) -> None:
    sold(shop, amount="33.33")  # earns 3.33
    shop.refund("pi_1", "re_1", "10")
    shop.refund("pi_1", "re_2", "1.11")
    shop.refund("pi_1", "re_3", "20")
    shop.refund("pi_1", "re_3", "20", "refund_failed")
    assert shop.earned() == [("ana", "USD", "3.33", "-1.11")]
    shop.refund("pi_1", "re_4", "22.22")
    assert shop.earned() == [("ana", "USD", "3.33", "-3.33")]


def test_dispute_takes_everything_back_and_gives_it_again_when_won(shop: Shop) -> None:
    sold(shop)
    shop.dispute("pi_1", "5", "chargeback_opened", "chargeback")
    assert shop.earned() == [("ana", "USD", "2.00", "-2.00")]
    shop.dispute("pi_1", "5", "chargeback_opened", "chargeback", "chargeback_reversed")
    assert shop.earned() == [("ana", "USD", "2.00", "0.00")]


def test_rejected_commission_is_nothing_until_the_word_is_taken_back(shop: Shop) -> None:
    sold(shop)
    shop.reviews += [Review(T, "pi_1", "ana", False), Review(T + HOUR, "pi_1", "bo", True)]
    assert shop.earned() == []
    shop.reviews.append(Review(T + HOUR, "pi_1", "ana", True))
    assert shop.earned() == [("ana", "USD", "2.00", "0.00")]


def test_commission_is_due_when_the_offer_has_held_it(shop: Shop) -> None:
    shop.offer(hold_days=14)
    sold(shop)
    assert shop.settled().hold_until == {("pi_1", "ana", "USD"): T + 14 * DAY}
