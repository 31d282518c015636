"""The same event a hundred times, at once, over several processes: senders retry, and it is one event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from support.ledger import Payment
from support.load import Request, beacon, payment, send_at_once
from support.processes import relo
from support.soak import scaled
from support.stack import Stack, drained

TIMES = scaled(100, 5_000)
COMMISSION = "SELECT partner_ref, kind, amount, currency FROM ledger WHERE conversion_key = {key:String}"


def delivered_often(stack: Stack, make: Callable[[], Request]) -> Request:
    urls = [stack.start_ingest(workers=2, RELO_SPOOL_MAX_AGE_MS=20).base_url, stack.start_ingest().base_url]
    request = make()
    statuses = send_at_once(urls, request, TIMES, stack.ledger)
    assert sum(n for status, n in statuses.items() if status in (200, 204)) == TIMES, statuses
    return request


def test_a_beacon_sent_a_hundred_times_is_one_row(stack: Stack) -> None:
    delivered_often(stack, beacon)
    stack.verify()


def test_a_webhook_sent_a_hundred_times_is_one_conversion_and_one_commission(stack: Stack) -> None:
    clicked = stack.start_ingest()
    click_id = clicked.http.get("/r?ref=ana").headers["location"].rpartition("click_id=")[2]
    request = delivered_often(stack, lambda: payment(metadata={"relo_click_id": click_id}))
    drained(stack.data_dir)
    for _ in range(2):
        done = relo("worker", "--once", env=stack.environment())
        assert done.returncode == 0, done.stderr
    assert isinstance(paid := request.payment, Payment)
    with stack.connected() as client:
        entries = client.query(COMMISSION, parameters={"key": paid.conversion_key}).result_rows
        conversions = client.query("SELECT conversion_key, currency, revenue FROM conversions").result_rows
        rows = client.query("SELECT count() FROM events FINAL WHERE event_type = 'purchase'").result_rows
    assert [tuple(e)[:2] for e in entries] == [("ana", "accrual")]
    assert abs(entries[0][2] - paid.amount / 10) <= Decimal(1) / 2
    assert [tuple(c) for c in conversions] == [(paid.conversion_key, paid.currency, paid.amount)]
    assert rows[0][0] == 1
