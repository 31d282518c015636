"""How long the reports take over a large history: ``python -m bench.reports_at_size [clicks]``, 2 million by default.

Why: the reports are views without tables of their own, computed when they are asked for; that is only right while an
operator does not wait. How: 90 days of one client's clicks, two to five beacons for each, a sale for every tenth click,
straight into the tables of an embedded engine; then each report, whole and for one day. A script, not part of `make
bench`: it has no target of its own.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import clickhouse_connect

from bench.harness import servers
from relo_ingest.clickhouse import migrate

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SETTINGS = {"max_partitions_per_insert_block": 0}
BATCH = 500_000
DAYS_MS = 90 * 86_400_000

AT = "toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + toIntervalMillisecond(number * {step:UInt64})"
CLICK = "concat('K', leftPad(toString(number), 25, '0'))"
WHOSE = "concat('p', toString(number % 500)), concat('o', toString(number % 5))"
CLICKS = f"""
INSERT INTO events (event_id, client_id, event_time, received_at, event_type, event_name,
                    click_id, partner_ref, offer, is_bot, properties)
SELECT {CLICK} AS id, 1, {AT} AS t, t, 'click', 'click', id, {WHOSE}, number % 20 = 0,
       concat('{{"s1": "c', toString(number % 40), '", "s2": "x', toString(number % 1000), '"}}')
FROM numbers({{first:UInt64}}, {{n:UInt64}})
"""
BEACONS = f"""
INSERT INTO events (event_id, client_id, event_time, received_at, event_type, event_name, device_id, click_id)
SELECT concat('E', toString(k), '-', toString(number)), 1, {AT} + toIntervalMinute(k) AS t, t, 'custom',
       ['page', 'page', 'view_product', 'add_to_cart', 'begin_checkout'][k],
       concat('D', leftPad(toString(intDiv(number, 2)), 25, '0')), {CLICK}
FROM numbers({{first:UInt64}}, {{n:UInt64}}) ARRAY JOIN range(1, 3 + number % 4) AS k
"""
SALES = f"""
INSERT INTO attribution_rows (client_id, conversion_key, partner_ref, offer, click_id, method, reason, payment,
                              event_time, revenue, refunded, currency, touches)
SELECT 1, toString(number), {WHOSE}, {CLICK} AS click, 'click_id', '{{}}', 'first',
       {AT} + toIntervalMinute(10) AS t, 20, if(number % 50 = 0, 20, 0), if(number % 7 < 4, 'USD', 'EUR'),
       [(t - toIntervalDay(3), 'K', 'p1', 'o1', 'device'), (t - toIntervalMinute(10), click, 'p1', 'o1', 'click_id')]
FROM numbers({{first:UInt64}}, {{n:UInt64}}) WHERE number % 10 = 0
"""
LINES = """
INSERT INTO ledger_lines (entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until,
                          reason, part, rate, rule_rate)
SELECT concat(part, conversion_key), client_id, conversion_key, partner_ref, kind, amount, currency, 'r', event_time,
       '{}', part, 1, 1
FROM attribution_rows
ARRAY JOIN ['earned', 'reversed'] AS part, ['accrual', 'reversal'] AS kind, [2, -2] AS amount
WHERE part = 'earned' OR refunded > 0
"""
REPORTS = ("partner_daily", "offer_daily", "sub_id_daily", "funnel_daily", "attribution_models")


def fill(client: Client, clicks: int) -> None:
    step = DAYS_MS // clicks
    for first in range(0, clicks, BATCH):
        part = {"first": first, "n": min(BATCH, clicks - first), "step": step}
        for sql in (CLICKS, BEACONS, SALES):
            client.command(sql, parameters=part, settings=SETTINGS)
    client.command(LINES)


def seconds(client: Client, sql: str) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        client.query(sql)
        times.append(time.perf_counter() - started)
    return min(times)


def main(clicks: int) -> None:
    with servers.directory() as where:
        port = servers.free_port()
        options = ["--data-dir", str(where.path / "clickhouse"), "--port", str(port)]
        cores = os.sched_getaffinity(0)
        where.start("clickhouse", ["-m", "relo_ingest.clickhouse.embedded", *options], cores, port).wait_until("/ping")
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port, autogenerate_session_id=False)
        migrate.apply(client)
        fill(client, clicks)
        tables = ("events", "clicks", "attribution_rows", "ledger_lines")
        print(", ".join(f"{client.command(f'SELECT count() FROM {table}')} {table}" for table in tables))
        for report in REPORTS:
            whole = seconds(client, f"SELECT count() FROM (SELECT * FROM {report} WHERE client_id = 1)")
            day = seconds(client, f"SELECT * FROM {report} WHERE client_id = 1 AND day = '2026-02-01' LIMIT 100")
            print(f"{report:<20} whole {whole:6.2f} s   one day {day:6.2f} s")
        client.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
