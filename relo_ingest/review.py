"""``relo review``: commissions on hold, and what an operator decides about them.

A decision is a row of ``reviews``, which the worker sees: an approval releases what is on hold, a rejection makes it
take the commission back. The last decision counts, and covers the codes of all before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.errors import ReloError
from relo_ingest.explain import find
from relo_ingest.explain.words import listed, money, span

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

LONGEST_NOTE = 1_000

OPEN_HOLDS = """
SELECT s.slug, h.conversion_key, h.partner_ref, h.evidence, toUnixTimestamp64Milli(h.raised_at) AS raised_at,
       arraySort(groupArrayIf((c.currency, c.amount), c.currency != ''))
FROM open_holds AS h
LEFT JOIN commissions AS c
    ON c.client_id = h.client_id AND c.conversion_key = h.conversion_key AND c.partner_ref = h.partner_ref
LEFT JOIN clients AS s ON s.client_id = h.client_id
WHERE h.client_id = {client_id:UInt32} OR {client_id:UInt32} = 0
GROUP BY ALL
ORDER BY raised_at, h.conversion_key
"""

AT_STAKE = """
SELECT partner_ref, arraySort(groupUniqArrayArray(open)) AS open, arraySort(groupUniqArrayArray(seen)) AS seen,
       max(rejected) AS rejected, arraySort(groupArrayIf((currency, amount), currency != '' AND amount != 0)) AS amounts
FROM
(
    SELECT partner_ref, codes AS open, emptyArrayString() AS seen, false AS rejected, '' AS currency,
           toDecimal128(0, 4) AS amount
    FROM open_holds
    WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
    UNION ALL
    SELECT partner_ref, [], codes, NOT approved, '', 0
    FROM reviews FINAL
    WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
    UNION ALL
    SELECT partner_ref, [], [], false, currency, amount
    FROM commissions
    WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
)
GROUP BY partner_ref
ORDER BY partner_ref
"""

# Later than the one before it, also when the clock went back: the last decision counts.
INSERT_REVIEW = """
INSERT INTO reviews (client_id, conversion_key, partner_ref, approved, codes, note, reviewed_at)
SELECT {client_id:UInt32}, {key:String}, {partner:String}, {approved:UInt8} = 1, {codes:Array(String)}, {note:String},
       greatest(now64(3), max(reviewed_at) + INTERVAL 1 MILLISECOND)
FROM reviews
WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String} AND partner_ref = {partner:String}
"""


class NotReviewable(ReloError):
    """There is nothing that the decision could be about, or it could be about several."""


class AtStake(msgspec.Struct, frozen=True):
    """What one partner has on one sale: codes that nobody decided on, codes that somebody did, and what is left."""

    partner_ref: str
    open: list[str]
    seen: list[str]
    rejected: bool
    amounts: list[tuple[str, Decimal]]

    def left(self) -> str:
        return _left(self.amounts)


def listing(clickhouse: ClickHouseClient, slug: str) -> Iterator[str]:
    """What is on hold, the oldest first; a line each, and one for each reason."""
    now = time.time_ns() // 1_000_000
    client_id = find.client_id(clickhouse, slug) if slug else 0
    rows = clickhouse.query(OPEN_HOLDS, parameters={"client_id": client_id}).result_rows
    for client, key, partner, evidence, raised_at, amounts in rows:
        yield f"{key}  {client}  {partner}  {_left(amounts)}  on hold for {span(now - raised_at)}"
        yield from (f"    {reason}" for reason in evidence)
    if not rows:
        yield "nothing is on hold"


def decide(clickhouse: ClickHouseClient, name: str, *, approve: bool, slug: str, partner: str, note: str) -> str:
    """Write the decision on one partner's commission; says what was decided.

    ``name``: as for ``relo why``; ``partner`` may be "" where only one has something at stake. Raises Unknown and
    NotReviewable.
    """
    if len(note) > LONGEST_NOTE:
        raise NotReviewable(f"--note: at most {LONGEST_NOTE} characters")
    sale = _one_sale(clickhouse, name, slug)
    parameters = {"client_id": sale.client_id, "key": sale.conversion_key}
    found = [AtStake(**row) for row in clickhouse.query(AT_STAKE, parameters=parameters).named_results()]
    chosen = _one_partner(found, sale.conversion_key, partner, approve=approve)
    codes = sorted({*chosen.open, *chosen.seen})
    decision = {"partner": chosen.partner_ref, "approved": int(approve), "codes": codes, "note": note}
    clickhouse.command(INSERT_REVIEW, parameters=parameters | decision)
    decided = f"{chosen.left()} of {chosen.partner_ref} on {sale.conversion_key}"
    held = f"; it was on hold for {listed(chosen.open)}" if chosen.open else ""
    return f"approved: {decided}{held}" if approve else f"rejected: {decided}{held}; the worker takes it back"


def _one_sale(clickhouse: ClickHouseClient, name: str, slug: str) -> find.Found:
    found = find.payments(clickhouse, name, slug)
    if len(found) > 1:
        raise NotReviewable(f"{name} is known by {len(found)} payments; `relo why {name}` lists them")
    return found[0]


def _one_partner(found: list[AtStake], key: str, partner: str, *, approve: bool) -> AtStake:
    """Whose commission is meant. An approval needs a hold, or a rejection that it takes back; a rejection does not."""
    fitting = [a for a in found if a.open or a.rejected or (not approve and a.amounts)]
    if partner:
        fitting = [a for a in fitting if a.partner_ref == partner]
    if not fitting:
        what = "nothing is on hold" if approve else "there is no commission"
        raise NotReviewable(f"{key}: {what}{f' for {partner}' if partner else ''}")
    if len(fitting) > 1:
        raise NotReviewable(f"{key}: name one with --partner: {listed([a.partner_ref for a in fitting], 'or')}")
    return fitting[0]


def _left(amounts: list[tuple[str, Decimal]]) -> str:
    return listed([money(amount, currency) for currency, amount in amounts if amount]) or "nothing"
