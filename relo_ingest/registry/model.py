"""Clients, offers, partners, promo codes and commission rules, as ``relo apply`` reads them.

An entry is identified by its kind and key, and stored as one JSON object. Nothing is deleted: partners keep
what they earned, so an entry is ended by its status or its validity.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from relo_ingest.errors import ConfigError

Slug = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")]
Status = Literal["active", "paused"]
PaymentKind = Literal["first", "renewal"]

BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all kinds share: a kind, and a key that is unique within it."""

    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """Unique within the kind, and never changed."""
        raise TypeError("an entry of no kind has no key")


class Client(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "client"

    client_id: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    slug: Slug
    name: str = ""
    status: Status = "active"
    stripe_secrets: tuple[Annotated[str, Meta(pattern=r"^whsec_\S+\Z")], ...] = ()

    @property
    def key(self) -> str:
        return self.slug


class Offer(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "offer"

    client: Slug
    slug: Slug
    landing_page: str
    status: Status = "active"
    click_window_days: Annotated[int, Meta(ge=1, le=3650)] = 60
    """A click counts for conversions up to this long after it. 60 days: the life of the click cookie."""
    hold_days: Annotated[int, Meta(ge=0, le=3650)] = 30
    """How long a commission waits for refunds before it is due: most refund policies end after 30 days."""

    @property
    def key(self) -> str:
        return f"{self.client}/{self.slug}"


class Partner(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "partner"

    ref: Slug
    """The code in the partner's links: unique on the platform."""
    client: Slug
    offers: Annotated[tuple[Slug, ...], Meta(min_length=1)]
    """Offers of the client that this partner may share; links without ``offer=`` lead to the first."""
    name: str = ""
    status: Status = "active"

    @property
    def key(self) -> str:
        return self.ref


class PromoCode(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "promo_code"

    client: Slug
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    partner: Slug

    @property
    def key(self) -> str:
        return f"{self.client}/{self.code.upper()}"


class CommissionRule(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "commission_rule"

    client: Slug
    name: Slug
    offer: Slug
    partner: Slug | Literal[""] = ""
    """Empty: every partner of the offer that has no rule of its own."""
    applies_to: Annotated[tuple[PaymentKind, ...], Meta(min_length=1)] = ("first", "renewal")
    basis_points: Annotated[int, Meta(ge=0, le=10_000)]
    """Share of the payment in hundredths of a percent: 1000 is 10 %."""
    valid_from: dt.datetime = BEGINNING
    valid_to: dt.datetime = END

    @property
    def key(self) -> str:
        return f"{self.client}/{self.name}"


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The registry part of ``relo.toml``."""

    clients: tuple[Client, ...] = ()
    offers: tuple[Offer, ...] = ()
    partners: tuple[Partner, ...] = ()
    promo_codes: tuple[PromoCode, ...] = ()
    commission_rules: tuple[CommissionRule, ...] = ()

    def entries(self) -> Iterator[Entry]:
        for field in self.__struct_fields__:
            yield from getattr(self, field)


def parse(tables: dict[str, Any], source: str) -> Declaration:
    """The registry tables of a TOML file. Raises ConfigError with the path of what is wrong."""
    try:
        declaration = msgspec.convert(tables, Declaration, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {str(error).replace('`', '').replace(' - at $.', ' at ')}") from None
    seen: set[tuple[str, str]] = set()
    for entry in declaration.entries():
        identity = (entry.kind, entry.key)
        if identity in seen:
            raise ConfigError(f"{source}: {identity[0]} {entry.key} stands there twice")
        seen.add(identity)
    for offer in declaration.offers:
        if not _is_web_address(offer.landing_page):
            raise ConfigError(f"{source}: offer {offer.key}: landing_page: expected http(s)://host/…")
    _unique([(str(c.client_id), c.slug) for c in declaration.clients], "client_id", source)
    return declaration


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _unique(pairs: Sequence[tuple[str, str]], what: str, source: str) -> None:
    owners: dict[str, str] = {}
    for value, owner in pairs:
        if owners.setdefault(value, owner) != owner:
            raise ConfigError(f"{source}: {what} {value} belongs to both {owners[value]} and {owner}")
