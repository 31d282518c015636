"""Amounts, times, lists and shortened hashes as people read them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from relo_ingest.money import minor_digits

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def money(amount: Decimal, currency: str) -> str:
    """With the currency's own digits; with more where there is more: 7.48 USD, 1000 JPY, 7.485 USD."""
    plain = amount.normalize()
    digits = max(minor_digits(currency), -int(plain.as_tuple().exponent))
    return f"{plain:.{digits}f} {currency}"


def signed(amount: Decimal, currency: str) -> str:
    """A line of the ledger: +7.48 USD, −7.48 USD."""
    return f"{'−' if amount < 0 else '+'}{money(abs(amount), currency)}"


def plain(amount: Decimal) -> str:
    """Without zeros at the end, and never as 1E+3."""
    return f"{amount.normalize():f}"


def percent(basis_points: Decimal | int) -> str:
    """1050 → 10.5 %."""
    return f"{plain(Decimal(basis_points) / 100)} %"


def when(ms: int) -> str:
    """Unix ms → 2026-03-10 09:00:00 UTC."""
    return (dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)).strftime("%Y-%m-%d %H:%M:%S UTC")


def day(ms: int) -> str:
    return when(ms)[:10]


def span(ms: int) -> str:
    """A length of time in the two units that matter: 3 days 4 hours, 12 minutes 5 seconds."""
    found, rest = [], abs(ms)
    for name, size in (("day", DAY_MS), ("hour", HOUR_MS), ("minute", MINUTE_MS), ("second", 1000)):
        count, rest = divmod(rest, size)
        if count:
            found.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(found[:2]) or "less than a second"


def short(text: str) -> str:
    """A hash, so that two of them can be told apart."""
    return f"{text[:8]}…" if len(text) > 8 else text


def listed(words: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
