"""Clients, offers, partners, promo codes and commission rules, as ``relo apply`` reads them.

An entry is identified by its kind and key, and stored as one JSON object. Nothing is deleted: partners keep
what they earned, so an entry is ended by its status or its validity.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta

from relo_ingest.errors import ConfigError
from relo_ingest.registry.landing import HOST, WEB_ADDRESS

Slug = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")]
DomainOrNone = Annotated[str, Meta(pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)+)?\Z")]
SlugOrNone = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,62})?\Z")]
Status = Literal["active", "paused"]
PaymentKind = Literal["first", "renewal", "lead", "trial"]
"""What is paid for. ``trial``: a purchase that cost nothing yet; ``renewal``: a further payment of a subscription."""
Method = Literal["promo_code", "click_id", "device", "customer"]
Parameter = Annotated[str, Meta(pattern=r"^(?!(ref|offer|to|ts|click_id)\Z)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
"""A parameter of a link that is not an instruction to us."""
Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,4})?\Z")]
"""Money in whole currency units, as text: TOML's numbers with a point are binary floats."""
Currency = Annotated[str, Meta(pattern=r"^([A-Z]{3})?\Z")]
"""ISO 4217; empty where it may be left out."""
Days = Annotated[int, Meta(ge=1, le=3650)]

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
    privacy_signals: Literal["respect", "ignore"] = "respect"
    """Global Privacy Control, Do Not Track: respected, events count, and their rows say nothing of the visitor."""
    cookie_domain: DomainOrNone = ""
    """The site's own domain, when a subdomain of it leads to the ingest, which then sets the pixel's cookies."""
    stripe_secrets: tuple[Annotated[str, Meta(pattern=r"^whsec_\S+\Z")], ...] = ()

    @property
    def key(self) -> str:
        return self.slug


class Holds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What makes a sale wait for ``relo review``; it stays in the ledger. 0 turns a number off."""

    self_referral: bool = True
    """The customer's address or device is the partner's."""
    fastest_s: Annotated[int, Meta(ge=0, le=86_400)] = 5
    """A payment sooner after its click than a person can fill in a form."""
    clicks_per_network: Annotated[int, Meta(ge=0)] = 200
    """More clicks than this on the partner's links, from one address block, within ten minutes around the click: above
    what a shared office or a mobile carrier's /24 sends."""
    conversions_per_click: Annotated[int, Meta(ge=0)] = 10
    """More purchases and leads than this from one click; renewals are not counted."""
    refund_percent: Annotated[int, Meta(ge=0, le=100)] = 30
    """More of the partner's sales of the 90 days before were refunded than this share, of at least 20."""


class Offer(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "offer"

    client: Slug
    slug: Slug
    landing_page: str
    status: Status = "active"
    append: tuple[Parameter, ...] = ()
    """Parameters of the link that the landing page gets too, besides ``click_id``: ``["s1", "fbclid"]``."""
    deep_link_hosts: tuple[str, ...] = ()
    """Hosts that a link may name with ``to``, besides the landing page's own: ``shop.example``, with a port if it has
    one, or ``*.shop.example`` for its subdomains. Only name hosts whose pages you trust."""
    fallback_page: str = ""
    """Where links lead while their partner or this offer is paused. Empty: ``ingest.fallback_page``."""
    cookie_days: Annotated[int, Meta(ge=1, le=400)] = 60
    """Life of the click cookie: as long as a click counts. 400 days is the most that browsers keep."""
    dedup_minutes: Annotated[int, Meta(ge=0, le=1440)] = 30
    """A second click of a device on the same partner's link to this offer within this time is marked as a repeat. 30
    minutes: what analytics tools call one session. 0: none is."""
    click_window_days: Days = 60
    """A click counts for conversions up to this long after it. 60 days: the life of the click cookie."""
    device_window_days: Days | None = None
    """The same for clicks that are found through the device. None: as long as ``click_window_days``."""
    customer_window_days: Days | None = None
    """How long after the payment that brought the customer its partner is remembered. None: for good."""
    methods: Annotated[tuple[Method, ...], Meta(min_length=1)] = ("promo_code", "click_id", "device", "customer")
    """The methods that count, the strongest first. A renewal asks for the customer's partner before the others."""
    model: Literal["last_click", "first_click"] = "last_click"
    """Which of several clicks on this offer earns."""
    holds: Holds = Holds()
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
    """A paused partner earns nothing from payments of that time."""
    email: str = ""
    """To find self-referrals; only its SHA-256 is stored."""
    devices: tuple[Annotated[str, Meta(min_length=26, max_length=26)], ...] = ()
    """Device ids of the partner's own browsers, for the same."""
    currency: Currency = ""
    """What the partner is paid in. Empty: in the currency of each sale, or of the rule's fixed amount."""

    @property
    def key(self) -> str:
        return self.ref


class PromoCode(Entry, frozen=True, kw_only=True):
    kind: ClassVar[str] = "promo_code"

    client: Slug
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    partner: Slug
    offer: SlugOrNone = ""
    """Whose rules apply. Empty: the partner's first offer."""

    @property
    def key(self) -> str:
        return f"{self.client}/{self.code.upper()}"


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another share or amount once the partner sold so much in the calendar month (UTC)."""

    after: Annotated[int, Meta(ge=1, le=10**12)]
    """Sales, or whole currency units, that came before: ``after = 10`` holds from the eleventh sale on."""
    basis_points: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    fixed: Amount | None = None


class CommissionRule(Entry, frozen=True, kw_only=True):
    """What is paid for a sale: the partner's own rule before the offer's, the one in force at the sale's time, and of
    several the one with the latest ``valid_from``."""

    kind: ClassVar[str] = "commission_rule"

    client: Slug
    name: Slug
    offer: Slug
    partner: SlugOrNone = ""
    """Empty: every partner of the offer that has no rule of its own."""
    applies_to: Annotated[tuple[PaymentKind, ...], Meta(min_length=1)] = ("first", "renewal")
    basis_points: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """Share of the payment in hundredths of a percent: 1000 is 10 %. Either this or ``fixed``."""
    fixed: Amount | None = None
    """Amount for each sale, in ``currency``."""
    minimum: Amount | None = None
    maximum: Amount | None = None
    """Bounds of one commission, in ``currency``."""
    currency: Currency = ""
    basis: Literal["gross", "net_of_tax_and_shipping"] = "gross"
    """What the share is of."""
    renewal_months: Annotated[int, Meta(ge=0, le=1200)] | None = None
    """Renewals count for so many calendar months, and a day, after the first payment. None: for good."""
    tier_by: Literal["sales", "revenue"] = "sales"
    """What ``tiers`` count: the month's sales, or the month's revenue in the currency of the sale."""
    tiers: tuple[Tier, ...] = ()
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
        wrong = _wrong_in_offer(offer)
        if wrong:
            raise ConfigError(f"{source}: offer {offer.key}: {wrong}")
    for rule in declaration.commission_rules:
        wrong = _wrong_in_rule(rule)
        if wrong:
            raise ConfigError(f"{source}: commission_rule {rule.key}: {wrong}")
    _unique([(str(c.client_id), c.slug) for c in declaration.clients], "client_id", source)
    return declaration


def _wrong_in_offer(offer: Offer) -> str:
    """What contradicts itself; "" when nothing does."""
    if not WEB_ADDRESS.fullmatch(offer.landing_page):
        return "landing_page: expected http(s)://host/…"
    if offer.fallback_page and not WEB_ADDRESS.fullmatch(offer.fallback_page):
        return "fallback_page: expected http(s)://host/…"
    if not all(HOST.fullmatch(host) for host in offer.deep_link_hosts):
        return "deep_link_hosts: expected hosts in lower case, such as shop.example or *.shop.example"
    query = urlsplit(offer.landing_page).query
    if {name for name, _ in parse_qsl(query, keep_blank_values=True)} & set(offer.append):
        return "append: the landing page has a parameter of this name already"
    if len(set(offer.methods)) != len(offer.methods):
        return "methods: one stands there twice"
    return ""


def _wrong_in_rule(rule: CommissionRule) -> str:
    """What contradicts itself; "" when nothing does."""
    if (rule.basis_points is None) == (rule.fixed is None):
        return "expected either basis_points or fixed"
    if rule.fixed is None and set(rule.applies_to) & {"lead", "trial"}:
        return "applies_to: leads and trials have no revenue, so they need a fixed amount"
    if (rule.fixed or rule.minimum or rule.maximum) and not rule.currency:
        return "currency: expected the one of fixed, minimum and maximum"
    if rule.minimum and rule.maximum and Decimal(rule.minimum) > Decimal(rule.maximum):
        return "minimum: is above maximum"
    if rule.valid_from >= rule.valid_to:
        return "valid_to: expected a time after valid_from"
    steps = [tier.after for tier in rule.tiers]
    if steps != sorted(set(steps)):
        return "tiers: expected rising values of after"
    if any(
        (t.basis_points is None) != (rule.basis_points is None) or (t.fixed is None) != (rule.fixed is None)
        for t in rule.tiers
    ):
        return "tiers: expected basis_points or fixed in each, as in the rule itself"
    return ""


def _unique(pairs: Sequence[tuple[str, str]], what: str, source: str) -> None:
    owners: dict[str, str] = {}
    for value, owner in pairs:
        if owners.setdefault(value, owner) != owner:
            raise ConfigError(f"{source}: {what} {value} belongs to both {owners[value]} and {owner}")
