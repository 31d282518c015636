"""``relo apply``: what a declaration would change in the registry, and writing it.

The registry is only ever added to. An entry that the file no longer names stays in force: ending one is a
change of its status or validity, so that a file that lost a line takes nobody's commission away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from relo_ingest._fast import digest
from relo_ingest.errors import ConfigError
from relo_ingest.registry.model import Client, CommissionRule, Declaration, Entry, Offer, Partner, PromoCode
from relo_ingest.registry.secrets import Keyring, StripeSecret, fingerprint, last_four

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

SELECT_CURRENT = "SELECT kind, key, body FROM registry_current"
SELECT_LAST_VERSION = "SELECT max(version) FROM registry"

Body = dict[str, Any]
Current = Mapping[tuple[str, str], Body]


class Change(msgspec.Struct, frozen=True):
    """One row to add; ``before`` is {} for a new entry."""

    kind: str
    key: str
    before: Body
    after: Body

    def lines(self) -> Iterator[str]:
        """The difference, for people; secrets show their last four characters."""
        yield f"{'~' if self.before else '+'} {self.kind} {self.key}"
        for name in sorted(self.before.keys() | self.after.keys()):
            old, new = self.before.get(name), self.after.get(name)
            if old != new and name not in ("token", "client_id"):
                yield f"    {name}: {_shown(old)}{' → ' if self.before else ''}{_shown(new)}"


def current(client: ClickHouseClient) -> dict[tuple[str, str], Body]:
    """The entries in force."""
    rows = client.query(SELECT_CURRENT).result_rows
    return {(kind, key): msgspec.json.decode(body) for kind, key, body in rows}


def changes(declaration: Declaration, now: Current, keyring: Keyring) -> list[Change]:
    """What is to be written so that the declaration holds. Raises ConfigError for references that lead nowhere."""
    ids = _client_ids(declaration, now)
    _check_references(declaration, now, ids)
    found = []
    for entry in declaration.entries():
        body = _body(entry, ids)
        before = now.get((entry.kind, entry.key), {})
        if before != body:
            found.append(Change(entry.kind, entry.key, before, body))
        if isinstance(entry, Client):
            found += _new_secrets(entry, now, keyring)
    return found


def notes(declaration: Declaration, now: Current) -> Iterator[str]:
    """What the file says and the registry will not do: a line each."""
    for client in declaration.clients:
        for secret in dict.fromkeys(client.stripe_secrets):
            body = now.get(("stripe_secret", f"{client.slug}/{fingerprint(secret)}"))
            if body is not None and body.get("status") == "retired":
                yield (
                    f"! client {client.slug}: the secret ending {last_four(secret)} was retired and stays so; take "
                    "it out of the file, or bring it back with `relo secret add`"
                )


def write(client: ClickHouseClient, todo: list[Change]) -> int:
    """Add the changes as one new version; returns it."""
    version = max(time.time_ns() // 1_000_000, int(str(client.command(SELECT_LAST_VERSION))) + 1)
    client.insert(
        "registry",
        [(c.kind, c.key, version, msgspec.json.encode(c.after, order="sorted").decode()) for c in todo],
        column_names=["kind", "key", "version", "body"],
    )
    return version


def _body(entry: Entry, ids: Mapping[str, int]) -> Body:
    body: Body = msgspec.to_builtins(entry)
    body.pop("stripe_secrets", None)
    if isinstance(entry, Partner):
        email = body.pop("email")
        body["email_hash"] = digest.email_hash(email) if email else ""
    body["client_id"] = ids[body["slug"] if isinstance(entry, Client) else body["client"]]
    # What is compared must look as it will after a round trip through JSON.
    decoded: Body = msgspec.json.decode(msgspec.json.encode(body))
    return decoded


def _new_secrets(client: Client, now: Current, keyring: Keyring) -> Iterator[Change]:
    for secret in dict.fromkeys(client.stripe_secrets):
        key = f"{client.slug}/{fingerprint(secret)}"
        if ("stripe_secret", key) not in now:
            new = StripeSecret(
                client_id=client.client_id,
                client=client.slug,
                token=keyring.encrypt(secret),
                last_four=last_four(secret),
            )
            yield Change("stripe_secret", key, {}, msgspec.to_builtins(new))


def _client_ids(declaration: Declaration, now: Current) -> dict[str, int]:
    ids = {body["slug"]: body["client_id"] for (kind, _), body in now.items() if kind == "client"}
    owners = {client_id: slug for slug, client_id in ids.items()}
    for client in declaration.clients:
        if ids.get(client.slug, client.client_id) != client.client_id:
            raise ConfigError(f"client {client.slug}: client_id is {ids[client.slug]} and can never change")
        if owners.setdefault(client.client_id, client.slug) != client.slug:
            raise ConfigError(f"client {client.slug}: client_id {client.client_id} is {owners[client.client_id]}'s")
        ids[client.slug] = client.client_id
    return ids


def _check_references(declaration: Declaration, now: Current, ids: Mapping[str, int]) -> None:
    offers = {key for kind, key in now if kind == "offer"} | {o.key for o in declaration.offers}
    partners = {key: body["client"] for (kind, key), body in now.items() if kind == "partner"}
    for partner in declaration.partners:
        if partners.setdefault(partner.ref, partner.client) != partner.client:
            raise ConfigError(f"partner {partner.ref}: the ref is taken by client {partners[partner.ref]}")
    for entry in declaration.entries():
        if not isinstance(entry, Client) and entry.client not in ids:  # type: ignore[attr-defined]
            raise ConfigError(f"{entry.kind} {entry.key}: there is no client {entry.client}")  # type: ignore[attr-defined]
        for offer in _offers_of(entry):
            if offer not in offers:
                raise ConfigError(f"{entry.kind} {entry.key}: there is no offer {offer}")
        if isinstance(entry, PromoCode | CommissionRule) and entry.partner:
            if partners.get(entry.partner) != entry.client:
                raise ConfigError(f"{entry.kind} {entry.key}: client {entry.client} has no partner {entry.partner}")


def _offers_of(entry: Entry) -> list[str]:
    if isinstance(entry, Partner):
        return [f"{entry.client}/{slug}" for slug in entry.offers]
    if isinstance(entry, CommissionRule | PromoCode):
        return [f"{entry.client}/{entry.offer}"] if entry.offer else []
    if isinstance(entry, Offer):
        return [entry.key]
    return []


def _shown(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()
