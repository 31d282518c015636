"""``relo rates``: exchange rates from a CSV file with the header ``date,currency,rate``.

A rate is units of the currency for one unit of the base. What was imported stays, because commissions were computed
with it: the same value again is fine, another one is refused. A file is imported whole, or not at all.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from relo_ingest.errors import ReloError
from relo_ingest.explain.words import plain

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

HEADER = ["date", "currency", "rate"]
FIRST_DAY = dt.date(1970, 1, 1)
LAST_DAY = dt.date(2148, 12, 31)
"""ClickHouse's Date ends in June 2149."""

Key = tuple[dt.date, str]
Rates = dict[Key, Decimal]

KNOWN = "SELECT day, currency, rate FROM rates FINAL WHERE day BETWEEN {first:Date} AND {last:Date}"
BASES = "SELECT currency FROM rates GROUP BY currency HAVING min(rate) = 1 AND max(rate) = 1 ORDER BY currency"

LOOK_AGAIN = """
INSERT INTO changes (seen_at, client_id, kind, id)
SELECT now64(3), a.client_id, 'payment', a.conversion_key
FROM (SELECT * FROM attribution_rows FINAL) AS a
WHERE a.method NOT IN ('', 'none') AND NOT a.gone
  AND toDate(a.event_time) BETWEEN {first:Date} AND {last:Date} + 7
"""
"""A sale uses the latest rate of the seven days before it, and waits while there is none. All sales of these days: one
that waits may have lines, of terms that were in force before."""

SUMMARY = """
SELECT currency, count(), min(day), max(day), argMax(rate, day) FROM rates FINAL GROUP BY currency ORDER BY currency
"""


class BadRates(ReloError):
    """The file cannot be read, or says something else than a rate, or than what is known."""


class Imported(msgspec.Struct, frozen=True):
    """How many rates the file has, and how many of them were not known before."""

    rates: int
    new: int

    def line(self) -> str:
        known = f", {self.rates - self.new} were known" if self.rates > self.new else ""
        return f"{self.new} rates imported{known}; the worker computes the commissions that waited for them"


def read(path: str, base: str) -> Rates:
    """The file's rates, and 1 for the base on each of its days. Raises BadRates, with the number of the line."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return _parse(csv.reader(file, strict=True), path, base)
    except OSError as error:
        raise BadRates(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRates(f"{path}: is no CSV file in UTF-8: {error}") from None


def write(clickhouse: ClickHouseClient, rates: Rates, base: str, path: str) -> Imported:
    """Add the rates that are not known yet, and have the sales looked at that waited. Raises BadRates."""
    bases = [row[0] for row in clickhouse.query(BASES).result_rows]
    if bases and base not in bases:
        raise BadRates(f"{path}: the rates so far are for one {bases[0]}, these for one {base}; they cannot be mixed")
    days = {"first": min(day for day, _ in rates), "last": max(day for day, _ in rates)}
    known = {(day, currency): rate for day, currency, rate in clickhouse.query(KNOWN, parameters=days).result_rows}
    for (day, currency), rate in rates.items():
        if known.get((day, currency), rate) != rate:
            raise BadRates(
                f"{path}: {currency} on {day} is {plain(known[day, currency])} already, and commissions were computed "
                f"with it; {plain(rate)} is refused, and nothing was imported"
            )
    new = [(*key, rate) for key, rate in rates.items() if key not in known]
    if new:
        clickhouse.insert("rates", new, column_names=["day", "currency", "rate"])
    # Also when all are known: an import that broke off between the two statements is completed by another.
    clickhouse.command(LOOK_AGAIN, parameters=days)
    return Imported(len(rates), len(new))


def listing(clickhouse: ClickHouseClient) -> Iterator[str]:
    """A line for each currency."""
    rows = clickhouse.query(SUMMARY).result_rows
    for currency, days, first, last, rate in rows:
        yield f"{currency}  {plain(rate):>16}  on {last}, the last of {days} since {first}"
    if not rows:
        yield "no rates were imported yet"


def _parse(lines: Iterable[list[str]], path: str, base: str) -> Rates:
    found: Rates = {}
    numbered = enumerate(lines, 1)
    header = next(numbered, (1, []))[1]
    if [name.strip() for name in header] != HEADER:
        raise BadRates(f"{path}: line 1: expected the header {','.join(HEADER)}")
    for number, fields in numbered:
        if not any(field.strip() for field in fields):
            continue
        try:
            key, rate = _rate([field.strip() for field in fields], base)
            if found.setdefault(key, rate) != rate:
                raise ValueError(f"{key[1]} on {key[0]} stands there twice, with different rates")
        except ValueError as error:
            raise BadRates(f"{path}: line {number}: {error}") from None
    if not found:
        raise BadRates(f"{path}: has no rates")
    return {(day, base): Decimal(1) for day, _ in found} | found


def _rate(fields: list[str], base: str) -> tuple[Key, Decimal]:
    """Raises ValueError."""
    if len(fields) != len(HEADER):
        raise ValueError(f"expected {len(HEADER)} fields, found {len(fields)}")
    date, currency, number = fields
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date, re.ASCII):
        raise ValueError("date: expected YYYY-MM-DD")
    try:
        day = dt.date.fromisoformat(date)
    except ValueError:
        raise ValueError(f"date: there is no {date}") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"date: expected one from {FIRST_DAY} to {LAST_DAY}")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise ValueError("currency: expected three capital letters, such as USD")
    if not re.fullmatch(r"\d{1,10}(\.\d{1,8})?", number, re.ASCII) or not Decimal(number):
        raise ValueError("rate: expected a number above 0, such as 1.0832, with at most 8 decimals")
    rate = Decimal(number)
    if currency == base and rate != 1:
        raise ValueError(f"rate: {base} is the base, so its rate is 1")
    return (day, currency), rate
