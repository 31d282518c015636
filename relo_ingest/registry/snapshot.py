"""The registry as the ingest reads it: an immutable snapshot, looked up by dictionary."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import msgspec

from relo_ingest.registry.landing import Landing, OfferTerms, in_ascii
from relo_ingest.registry.model import BEGINNING, END
from relo_ingest.registry.secrets import Keyring, StripeSecret, Undecryptable
from relo_ingest.registry.short_links import ShortLink

log = logging.getLogger(__name__)

Row = tuple[str, str, str]
"""(kind, key, body): a row of ``registry_current``."""

ENVIRONMENT_CLIENT = 1
"""STRIPE_WEBHOOK_SECRET belongs to this client_id."""


class Limits(msgspec.Struct, frozen=True):
    """When a secret is in force (Unix seconds: from the first until before the second), and for which events."""

    valid_from: int
    valid_to: int
    live: bool
    test: bool

    def allow(self, now_s: int, livemode: bool | None) -> bool:
        return self.valid_from <= now_s < self.valid_to and (livemode is None or (self.live if livemode else self.test))


UNLIMITED = Limits(int(BEGINNING.timestamp()), int(END.timestamp()), live=True, test=True)


class Client(msgspec.Struct, frozen=True):
    """An active client. ``stripe_secrets`` are the signing secrets that were in force when the snapshot was built, or
    come into force later; ``limits`` are of those that do not hold always and for both modes."""

    client_id: int
    slug: str
    stripe_secrets: tuple[bytes, ...] = ()
    limits: dict[bytes, Limits] = {}
    respects_signals: bool = True
    cookie_domain: str = ""

    def secrets_at(self, now_s: int, livemode: bool | None = None) -> tuple[bytes, ...]:
        """The secrets in force at that second; with ``livemode``, those for such events only."""
        if not self.limits:
            return self.stripe_secrets
        limits = self.limits
        return tuple([s for s in self.stripe_secrets if s not in limits or limits[s].allow(now_s, livemode)])


class Link(msgspec.Struct, frozen=True):
    """What an active partner's ``ref`` leads to: landings by offer slug, and that of the first offer."""

    client_id: int
    ref: str
    default: Landing
    landings: dict[str, Landing]


class Snapshot(msgspec.Struct, frozen=True):
    version: int
    clients: dict[int, Client]
    slugs: dict[str, Client]
    links: dict[str, Link]
    fallbacks: dict[str, dict[str, str]] = {}
    """Of partners whose links lead nowhere now: the fallback pages of their offers, where they have one."""
    short_links: dict[str, ShortLink] = {}


EMPTY = Snapshot(0, {}, {}, {})


class _ClientBody(msgspec.Struct):
    client_id: int
    slug: str
    status: str
    privacy_signals: str = "respect"
    cookie_domain: str = ""


class _PartnerBody(msgspec.Struct):
    client_id: int
    client: str
    ref: str
    offers: list[str]
    status: str


class _Secrets(msgspec.Struct):
    """Of one client, while they are collected."""

    all: list[bytes] = []
    limits: dict[bytes, Limits] = {}


def build(
    version: int, rows: Iterable[Row], keyring: Keyring, environment_secret: str = "", now_s: int | None = None
) -> Snapshot:
    """A snapshot of what is active. A secret that no key opens is left out and logged, the rest still works.

    ``environment_secret`` always holds, whatever the registry says of it. Secrets that ended before ``now_s`` are
    left out.
    """
    bodies: dict[str, list[str]] = {}
    for kind, _, body in rows:
        bodies.setdefault(kind, []).append(body)

    secrets = _secrets(bodies.get("stripe_secret", ()), keyring, int(time.time()) if now_s is None else now_s)
    if environment_secret:
        own = secrets.setdefault(ENVIRONMENT_CLIENT, _Secrets())
        own.all.insert(0, environment_secret.encode())
        own.limits.pop(environment_secret.encode(), None)

    clients: dict[int, Client] = {}
    for body in bodies.get("client", ()):
        found = msgspec.json.decode(body, type=_ClientBody)
        if found.status == "active":
            own = secrets.get(found.client_id, _Secrets())
            clients[found.client_id] = Client(
                found.client_id,
                found.slug,
                tuple(dict.fromkeys(own.all)),
                own.limits,
                found.privacy_signals == "respect",
                found.cookie_domain,
            )
    slugs = {c.slug: c for c in clients.values()}
    links, fallbacks = _links(bodies, slugs)
    short_links = [msgspec.json.decode(body, type=ShortLink) for body in bodies.get("link", ())]
    return Snapshot(version, clients, slugs, links, fallbacks, {s.code: s for s in short_links})


def _secrets(bodies: Iterable[str], keyring: Keyring, now_s: int) -> dict[int, _Secrets]:
    """The secrets that have not ended, by client."""
    found: dict[int, _Secrets] = {}
    for body in bodies:
        stored = msgspec.json.decode(body, type=StripeSecret)
        limits = Limits(
            int(stored.valid_from.timestamp()),
            int(stored.valid_to.timestamp()),
            live=stored.mode != "test",
            test=stored.mode != "live",
        )
        if limits.valid_to <= now_s:
            continue
        try:
            secret = keyring.decrypt(stored.token).encode()
        except Undecryptable as error:
            log.error("secret ending %s of client %d: %s", stored.last_four, stored.client_id, error)
            continue
        own = found.setdefault(stored.client_id, _Secrets())
        own.all.append(secret)
        if limits != UNLIMITED:
            own.limits[secret] = limits
    return found


def _links(bodies: dict[str, list[str]], slugs: dict[str, Client]) -> tuple[dict[str, Link], dict[str, dict[str, str]]]:
    """The links that lead on, and the fallback pages of the others."""
    offers = {}
    for body in bodies.get("offer", ()):
        offer = msgspec.json.decode(body, type=OfferTerms)
        offers[offer.client, offer.slug] = offer
    links: dict[str, Link] = {}
    fallbacks: dict[str, dict[str, str]] = {}
    for body in bodies.get("partner", ()):
        partner = msgspec.json.decode(body, type=_PartnerBody)
        keys = [(partner.client, slug) for slug in partner.offers]
        active = [offers[key] for key in keys if key in offers and offers[key].status == "active"]
        if partner.status == "active" and partner.client in slugs and active:
            own = {offer.slug: offer.landing(partner.ref) for offer in active}
            links[partner.ref] = Link(partner.client_id, partner.ref, next(iter(own.values())), own)
        else:
            pages = {key[1]: in_ascii(offers[key].fallback_page) for key in keys if key in offers}
            fallbacks[partner.ref] = {slug: page for slug, page in pages.items() if page}
    return links, fallbacks
