"""What a world is made of: one client's registry with its history, and everything that came in.

Times are Unix milliseconds (UTC), money is Decimal in whole currency units. Nothing here depends on when it arrives.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from relo_ingest.registry.model import CommissionRule, Entry, Offer, Partner, PromoCode

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@dataclass(frozen=True, kw_only=True)
class Event:
    """A row of the table ``events``, with its columns' names; ``event_time`` as a number."""

    event_id: str
    event_time: int
    event_type: str
    event_name: str
    is_test: bool = False
    is_bot: bool = False
    device_id: str = ""
    click_id: str = ""
    partner_ref: str = ""
    offer: str = ""
    order_id: str = ""
    conversion_key: str = ""
    refs: tuple[str, ...] = ()
    revenue: Decimal = Decimal(0)
    currency: str = ""
    email_hash: str = ""
    customer_ref: str = ""
    promo_code: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """An entry of the registry as it reads from ``since`` on."""

    since: int
    entry: Entry


@dataclass(frozen=True)
class Review:
    """A person's word on the commission of one sale."""

    at: int
    conversion_key: str
    partner_ref: str
    approved: bool


Rates = Mapping[str, Mapping[dt.date, Fraction]]
"""currency → day → units of it for one unit of the base."""


@dataclass(frozen=True)
class World:
    client_id: int
    slug: str
    versions: Sequence[Version]
    events: Sequence[Event]
    reviews: Sequence[Review] = ()
    rates: Rates = field(default_factory=dict)


class Registry:
    """The entries of one client in force at a time. The first version of an entry also holds for the time before it."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self._histories: dict[tuple[str, str], list[Version]] = {}
        for version in sorted(versions, key=lambda v: v.since):
            self._histories.setdefault((version.entry.kind, version.entry.key), []).append(version)

    def _as_of(self, kind: str, key: str, t: int) -> Any:
        history = self._histories.get((kind, key))
        if not history:
            return None
        return next((v.entry for v in reversed(history) if v.since <= t), history[0].entry)

    def offer(self, key: str, t: int) -> Offer | None:
        found: Offer | None = self._as_of("offer", key, t)
        return found

    def active_partner(self, ref: str, t: int) -> Partner | None:
        found: Partner | None = self._as_of("partner", ref, t)
        return found if found is not None and found.status == "active" else None

    def promo_code(self, key: str, t: int) -> PromoCode | None:
        found: PromoCode | None = self._as_of("promo_code", key, t)
        return found

    def commission_rules(self, t: int) -> list[CommissionRule]:
        return [self._as_of(kind, key, t) for kind, key in self._histories if kind == "commission_rule"]


def moment(ms: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)


def milliseconds(when: dt.datetime) -> int:
    return (when - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
