"""The registry as the ingest reads it: an immutable snapshot, looked up by dictionary."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from relo_ingest.registry.secrets import Keyring, Undecryptable

log = logging.getLogger(__name__)

Row = tuple[str, str, str]
"""(kind, key, body): a row of ``registry_current``."""

ENVIRONMENT_CLIENT = 1
"""STRIPE_WEBHOOK_SECRET belongs to this client_id."""


class Client(msgspec.Struct, frozen=True):
    """An active client; ``stripe_secrets`` are the signing secrets in force, as bytes."""

    client_id: int
    slug: str
    stripe_secrets: tuple[bytes, ...] = ()


class Link(msgspec.Struct, frozen=True):
    """What an active partner's ``ref`` leads to: landing pages by offer slug, the first being the default."""

    client_id: int
    ref: str
    landing_pages: dict[str, str]


class Snapshot(msgspec.Struct, frozen=True):
    version: int
    clients: dict[int, Client]
    slugs: dict[str, Client]
    links: dict[str, Link]


EMPTY = Snapshot(0, {}, {}, {})


class _ClientBody(msgspec.Struct):
    client_id: int
    slug: str
    status: str


class _OfferBody(msgspec.Struct):
    client: str
    slug: str
    landing_page: str
    status: str


class _PartnerBody(msgspec.Struct):
    client_id: int
    client: str
    ref: str
    offers: list[str]
    status: str


class _SecretBody(msgspec.Struct):
    client_id: int
    token: str
    last_four: str


def build(version: int, rows: Iterable[Row], keyring: Keyring, environment_secret: str = "") -> Snapshot:
    """A snapshot of what is active. A secret that no key opens is left out and logged, the rest still works."""
    bodies: dict[str, list[str]] = {}
    for kind, _, body in rows:
        bodies.setdefault(kind, []).append(body)

    secrets: dict[int, list[bytes]] = {}
    if environment_secret:
        secrets[ENVIRONMENT_CLIENT] = [environment_secret.encode()]
    for body in bodies.get("stripe_secret", ()):
        stored = msgspec.json.decode(body, type=_SecretBody)
        try:
            secrets.setdefault(stored.client_id, []).append(keyring.decrypt(stored.token).encode())
        except Undecryptable as error:
            log.error("secret ending %s of client %d: %s", stored.last_four, stored.client_id, error)

    clients: dict[int, Client] = {}
    for body in bodies.get("client", ()):
        found = msgspec.json.decode(body, type=_ClientBody)
        if found.status == "active":
            own = tuple(dict.fromkeys(secrets.get(found.client_id, ())))
            clients[found.client_id] = Client(found.client_id, found.slug, own)
    slugs = {c.slug: c for c in clients.values()}
    return Snapshot(version, clients, slugs, _links(bodies, slugs))


def _links(bodies: dict[str, list[str]], slugs: dict[str, Client]) -> dict[str, Link]:
    landing_pages: dict[tuple[str, str], str] = {}
    for body in bodies.get("offer", ()):
        offer = msgspec.json.decode(body, type=_OfferBody)
        if offer.status == "active":
            landing_pages[offer.client, offer.slug] = offer.landing_page
    links = {}
    for body in bodies.get("partner", ()):
        partner = msgspec.json.decode(body, type=_PartnerBody)
        pages = {
            slug: landing_pages[partner.client, slug]
            for slug in partner.offers
            if (partner.client, slug) in landing_pages
        }
        if partner.status == "active" and partner.client in slugs and pages:
            links[partner.ref] = Link(partner.client_id, partner.ref, pages)
    return links
