"""``relo stripe reconcile``: the events that Stripe has of a client, against those that arrived here."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.clickhouse.client import connected
from relo_ingest.settings import Settings
from relo_ingest.stripe_tools.api import Api
from relo_ingest.stripe_tools.courier import STORED, Courier, Envelope, address_of, client_in
from relo_ingest.stripe_tools.kinds import SUPPORTED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

NAMED = 100
"""Missing events that are named; the rest are counted."""

SELECT_ARRIVED = """
SELECT DISTINCT event_id FROM events
WHERE client_id = {client:UInt32} AND event_id IN {ids:Array(String)}
  AND event_time >= fromUnixTimestamp64Milli({first:Int64}, 'UTC')
  AND event_time <= fromUnixTimestamp64Milli({last:Int64}, 'UTC')
"""


class Tally(msgspec.Struct):
    """By type: events that Stripe has, that had arrived, that were taken in now."""

    at_stripe: Counter[str]
    arrived: Counter[str]
    taken_in: Counter[str]

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        width = max(len(kind) for kind in SUPPORTED)
        heading = f"{'type':<{width}}  at Stripe    arrived    missing"
        yield heading if dry_run else f"{heading}   taken in"
        for kind in (*(k for k in SUPPORTED if self.at_stripe[k]), ""):
            counts = [c.total() if not kind else c[kind] for c in (self.at_stripe, self.arrived, self.taken_in)]
            line = f"{kind or 'all':<{width}}  {counts[0]:>9}  {counts[1]:>9}  {counts[0] - counts[1]:>9}"
            yield line if dry_run else f"{line}  {counts[2]:>9}"


def reconcile(
    settings: Settings,
    slug: str,
    since: dt.timedelta,
    url: str,
    api: Api,
    say: Callable[[str], None],
    *,
    dry_run: bool,
) -> Courier:
    """Say what never arrived, and take it in unless ``dry_run``; returns the courier, whose summary tells the rest."""
    since_s = int(time.time() - since.total_seconds())
    tally = Tally(Counter(), Counter(), Counter())
    with connected(settings) as clickhouse:
        client = client_in(clickhouse, settings, slug)
        courier = Courier(address_of(settings, url), client, say)
        missing = 0
        for page in api.event_pages(SUPPORTED, since_s):
            envelopes = [msgspec.json.decode(body, type=Envelope) for body in page]
            there = _arrived(clickhouse, client.client_id, envelopes)
            # Stripe lists the newest first.
            for envelope, body in reversed(list(zip(envelopes, page, strict=True))):
                tally.at_stripe[envelope.type] += 1
                if envelope.id in there:
                    tally.arrived[envelope.type] += 1
                    continue
                missing += 1
                result = "" if dry_run else courier.deliver(body)
                tally.taken_in[envelope.type] += result == STORED
                if missing <= NAMED:
                    say(_named(envelope, result))
    if missing > NAMED:
        say(f"… and {missing - NAMED} more")
    for line in tally.lines(dry_run=dry_run):
        say(line)
    return courier


def _arrived(clickhouse: ClickHouseClient, client_id: int, envelopes: list[Envelope]) -> set[str]:
    if not envelopes:
        return set()
    times = [e.created * 1000 for e in envelopes]
    parameters = {
        "client": client_id,
        "ids": [e.id for e in envelopes],
        "first": min(times),
        "last": max(times),
    }
    return {row[0] for row in clickhouse.query(SELECT_ARRIVED, parameters=parameters).result_rows}


def _named(envelope: Envelope, result: str) -> str:
    at = dt.datetime.fromtimestamp(envelope.created, dt.UTC)
    return f"missing: {at:%Y-%m-%d %H:%M:%S} UTC  {envelope.type}  {envelope.id}{f'  {result}' if result else ''}"
