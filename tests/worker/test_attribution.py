"""Whom a conversion belongs to: the worker's steps on a real engine, case by case and against an oracle."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

from relo_ingest.worker.loop import run_round

MINUTE, MS = dt.timedelta(minutes=1), dt.timedelta(milliseconds=1)
EMAIL = "e" * 64
Story = Any  # of conftest.py, which cannot be imported


def winner(story: Story, key: str = "pi_1", *, settle: bool = True) -> tuple[str, str, str]:
    """(method, click_id, partner's name) of one conversion, after a round."""
    if settle:
        story.settle()
    found = story.attributions()[key]
    return found.method, found.click_id, found.partner_ref.rpartition("-")[0]


NOBODY = ("none", "", "")


def test_click_that_the_payment_names_wins(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.pay("pi_1", click_id="K1")
    assert winner(story) == ("click_id", "K1", "ana")
    found = story.attributions()["pi_1"]
    assert (found.offer, found.order_id) == ("main", "order-pi_1")
    assert found.reason["evidence"] == "the payment names the click"
    assert found.reason["clicked_at"] == f"{story.time(-2):%Y-%m-%d %H:%M:%S} UTC"


def test_device_of_the_payment_leads_to_its_click(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.seen("phone", click="K1")
    story.pay("pi_1", device_id="phone")
    assert winner(story) == ("device", "K1", "ana")
    reason = story.attributions()["pi_1"].reason
    assert reason["device_id"] == "phone"
    assert reason["evidence"].endswith("known by payment")


def test_email_leads_to_the_device_and_that_to_its_click(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.seen("phone", click="K1")
    story.seen("phone", email=EMAIL)
    story.pay("pi_1", email_hash=EMAIL)
    assert winner(story) == ("device", "K1", "ana")
    assert story.attributions()["pi_1"].reason["evidence"].endswith("known by email")


def test_any_device_of_the_email_counts_not_only_the_one_that_paid(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.seen("phone", click="K1")
    story.seen("phone", email=EMAIL)
    story.seen("laptop", email=EMAIL)
    story.pay("pi_1", device_id="laptop", email_hash=EMAIL)
    assert winner(story) == ("device", "K1", "ana")


def test_browser_id_leads_to_the_device_and_that_to_its_click(story: Story) -> None:
    story.click("K1", "ana", -3)
    story.seen("phone", click="K1", at=-3)
    story.seen("phone", click="BROWSER", at=-1)
    story.pay("pi_1", click_id="BROWSER")
    assert winner(story) == ("device", "K1", "ana")
    assert story.attributions()["pi_1"].reason["evidence"].endswith("known by browser id")


def test_last_click_of_the_device_wins(story: Story) -> None:
    for click, partner, at in (("K9", "ana", -3), ("K1", "bo", -1), ("K5", "cy", -2)):
        story.click(click, partner, at)
        story.seen("phone", click=click, at=at)
    story.pay("pi_1", device_id="phone")
    assert winner(story) == ("device", "K1", "bo")


def test_click_that_the_payment_names_wins_over_a_later_one_of_the_device(story: Story) -> None:
    story.click("K1", "ana", -3)
    story.click("K2", "bo", -1)
    story.seen("phone", click="K2")
    story.pay("pi_1", click_id="K1", device_id="phone")
    assert winner(story) == ("click_id", "K1", "ana")


def test_of_clicks_at_the_same_time_the_larger_id_wins(story: Story) -> None:
    for click, partner in (("K2", "ana"), ("K3", "bo"), ("K1", "cy")):
        story.click(click, partner, -1)
        story.seen("phone", click=click)
    story.pay("pi_1", device_id="phone")
    assert winner(story) == ("device", "K3", "bo")


def test_reason_names_the_candidates_that_lost(story: Story) -> None:
    for click, partner, at in (("K1", "ana", -3), ("K2", "bo", -1)):
        story.click(click, partner, at)
        story.seen("phone", click=click, at=at)
    story.pay("pi_1", device_id="phone")
    winner(story)
    candidates = story.attributions()["pi_1"].reason["candidates"]
    assert candidates == f"device K1 {story.ref('ana')}, device K2 {story.ref('bo')}"


def test_click_counts_for_sixty_days_until_five_minutes_after_the_payment(story: Story) -> None:
    paid = story.time(-1)
    ages = {
        "edge": dt.timedelta(days=60),
        "old": dt.timedelta(days=60) + MS,
        "skewed": -5 * MINUTE,
        "later": -5 * MINUTE - MS,
    }
    story.insert(*(story.a_click(name, "ana", paid - age) for name, age in ages.items()))
    story.insert(*(story.a_payment(name, paid, click_id=name) for name in ages))
    story.settle()
    methods = {key: a.method for key, a in story.attributions().items()}
    assert methods == {"edge": "click_id", "old": "none", "skewed": "click_id", "later": "none"}


def test_window_is_that_of_the_clicks_offer(story: Story) -> None:
    story.declare(offers=[story.of_client(slug="short", landing_page="https://x.test/", click_window_days=7)])
    story.partner("ana", offers=("main", "short"))
    story.click("K1", "ana", -8, offer="short")
    story.click("K2", "ana", -9, offer="main")
    story.pay("pi_1", click_id="K1")
    story.pay("pi_2", click_id="K2")
    assert winner(story, "pi_1") == NOBODY
    assert winner(story, "pi_2", settle=False) == ("click_id", "K2", "ana")


def test_click_of_another_client_does_not_count(story: Story, another_story: Story) -> None:
    another_story.click("K1", "ana", -2)
    another_story.seen("phone", click="K1")
    another_story.seen("phone", email=EMAIL)
    story.pay("pi_1", click_id="K1", device_id="phone", email_hash=EMAIL)
    assert winner(story) == NOBODY
    assert another_story.attributions() == {}


def test_same_click_id_at_two_clients_stays_apart(story: Story, another_story: Story) -> None:
    another_story.click("K1", "ana", -2)
    story.click("K1", "bo", -2)
    story.pay("pi_1", click_id="K1")
    another_story.pay("pi_1", click_id="K1")
    assert winner(story) == ("click_id", "K1", "bo")
    assert winner(another_story, settle=False) == ("click_id", "K1", "ana")


def test_click_of_a_paused_partner_does_not_count_and_an_earlier_one_of_another_does(story: Story) -> None:
    story.partner("bo", status="paused")
    for click, partner, at in (("K1", "ana", -3), ("K2", "bo", -1)):
        story.click(click, partner, at)
        story.seen("phone", click=click, at=at)
    story.pay("before", click_id="K2")
    story.pay("named", 0.1, click_id="K2")
    story.pay("seen", 0.1, device_id="phone")
    assert winner(story, "before") == ("click_id", "K2", "bo")
    assert winner(story, "named", settle=False) == ("device", "K1", "ana")
    assert winner(story, "seen", settle=False) == ("device", "K1", "ana")


def test_pausing_a_partner_takes_no_conversion_away(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.pay("pi_1", click_id="K1")
    assert winner(story) == ("click_id", "K1", "ana")
    story.partner("ana", status="paused")
    assert winner(story) == ("click_id", "K1", "ana")


def test_click_that_nobody_made_is_none(story: Story) -> None:
    story.pay("pi_1", click_id="K404", device_id="unknown", email_hash=EMAIL)
    assert winner(story) == NOBODY
    assert "no click" in story.attributions()["pi_1"].reason["evidence"]


def test_payments_without_any_identity_do_not_share_one(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.seen("", click="K1")
    story.seen("phone", click="K1")
    story.seen("phone", email="")
    story.pay("pi_1")
    assert winner(story) == NOBODY


def test_test_events_are_not_attributed(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    story.pay("pi_1", click_id="K1", is_test=True)
    story.settle()
    assert story.results() == ([], [])


def test_none_is_looked_at_again_when_a_click_comes_late(story: Story) -> None:
    story.rule("ten", 1000)
    story.pay("pi_1", -2, click_id="K1")
    assert winner(story) == NOBODY
    assert story.ledger() == []
    story.click("K1", "ana", -4)
    assert winner(story) == ("click_id", "K1", "ana")
    assert len(story.ledger()) == 1


def test_none_is_looked_at_again_when_an_identity_comes_late(story: Story) -> None:
    story.click("K1", "ana", -2)
    story.seen("phone", click="K1")
    story.pay("pi_1", email_hash=EMAIL)
    assert winner(story) == NOBODY
    story.seen("phone", email=EMAIL)
    assert winner(story) == ("device", "K1", "ana")


def test_what_is_seen_more_than_72_hours_after_the_payment_does_not_count(story: Story) -> None:
    story.click("K1", "ana", -9)
    for email, hours in ((EMAIL, 72), ("f" * 64, 72.001)):
        story.pay(f"pi_{hours}", -5, email_hash=email)
        story.seen(f"phone{hours}", click="K1", at=-8)
        story.seen(f"phone{hours}", email=email, at=-5 + hours / 24)
    assert winner(story, "pi_72") == ("device", "K1", "ana")
    assert winner(story, "pi_72.001") == NOBODY


def test_click_that_comes_in_long_after_the_payment_counts_as_when_it_was_made(story: Story) -> None:
    story.pay("pi_1", -20, click_id="K1")
    assert winner(story) == NOBODY
    story.click("K1", "ana", -25)
    assert winner(story) == ("click_id", "K1", "ana")


def test_late_click_takes_the_sale_and_its_commission_along(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -3)
    story.seen("phone", click="K1")
    story.pay("pi_1", device_id="phone")
    assert winner(story) == ("device", "K1", "ana")
    story.click("K2", "bo", -1)
    story.seen("phone", click="K2")
    assert winner(story) == ("device", "K2", "bo")
    assert [(e.kind, e.partner_ref, e.amount) for e in sorted(story.ledger(), key=lambda e: e.created_at)] == [
        ("accrual", story.ref("ana"), 2),
        ("adjustment", story.ref("ana"), -2),
        ("accrual", story.ref("bo"), 2),
    ]


def test_another_round_changes_nothing(story: Story) -> None:
    story.rule("ten", 1000)
    story.click("K1", "ana", -2)
    story.pay("pi_1", click_id="K1")
    story.pay("pi_2")
    story.settle()
    before = story.results()
    assert [len(r) for r in before] == [2, 1]
    story.settle()
    story.settle()
    assert story.results() == before


def test_two_workers_at_once_change_nothing(story: Story, clickhouse: Any) -> None:
    story.rule("ten", 1000)
    clicks = [story.a_click(f"K{n}", "ana", -2) for n in range(50)]
    story.insert(*clicks, *(story.a_payment(f"pi_{n:02}", click_id=f"K{n}") for n in range(60)))
    together = threading.Barrier(3)

    def work() -> None:
        client = clickhouse.connect()
        together.wait()
        for _ in range(2):
            run_round(client)
        client.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    attributions, ledger = story.results()
    assert [a.method for a in attributions] == ["click_id"] * 50 + ["none"] * 10
    assert len({e.conversion_key for e in ledger}) == len(ledger) == 50
    assert sum(e.amount for e in ledger) == 100
    story.settle()
    assert story.results() == (attributions, ledger)
