"""The same event a hundred times, at once, over several processes: senders retry, and it is one event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from support.ledger import Payment
from support.load import beacon, click, payment, send_at_once
from support.processes import relo
from support.soak import scaled
from support.stack import Stack

TIMES = scaled(100, 5_000)
COMMISSION = "SELECT partner_ref, kind, currency, amount FROM ledger WHERE conversion_key = {key:String}"


@pytest.fixture
def urls(stack: Stack) -> list[str]:
    """Of two ingests, three processes in all, that flush all the time: the event is in many batches."""
    often = {"RELO_SPOOL_MAX_AGE_MS": 20}
    return [stack.start_ingest(workers=2, **often).base_url, stack.start_ingest(**often).base_url]


def test_a_beacon_sent_a_hundred_times_is_one_row(stack: Stack, urls: list[str]) -> None:
    assert send_at_once(urls, beacon(), TIMES, stack.ledger) == {204: TIMES}
    stack.verify()


def test_a_webhook_sent_a_hundred_times_is_one_conversion_and_one_commission(stack: Stack, urls: list[str]) -> None:
    clicked = click()
    assert send_at_once(urls, clicked, 1, stack.ledger) == {302: 1}
    request = payment(metadata={"relo_click_id": stack.ledger.click_id(clicked.keys[0])})
    assert send_at_once(urls, request, TIMES, stack.ledger) == {200: TIMES}
    stack.verify()
    with ThreadPoolExecutor() as at_once:
        rounds = [at_once.submit(relo, "worker", "--once", env=stack.environment()) for _ in range(scaled(2, 10))]
    assert [r.result().returncode for r in rounds] == [0] * len(rounds), [r.result().stderr for r in rounds]
    paid = request.payment
    assert isinstance(paid, Payment)
    with stack.connected() as client:
        entries = client.query(COMMISSION, parameters={"key": paid.conversion_key}).result_rows
    assert [tuple(entry[:3]) for entry in entries] == [("ana", "accrual", paid.currency)]
    # 10 %, rounded to the currency's smallest unit: a yen at most.
    assert abs(entries[0][3] - paid.amount / 10) <= Decimal("0.5")
