"""``relo secret``: signing secrets of Stripe's webhooks, added, listed and retired one by one.

A row is never removed: a secret ends by its ``valid_to``. Two may be in force at once, so that one can be rolled
without an event being refused.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from relo_ingest.errors import ReloError
from relo_ingest.registry.apply import Change, Current
from relo_ingest.registry.model import BEGINNING, END
from relo_ingest.registry.secrets import Keyring, Mode, StripeSecret, Undecryptable, fingerprint, last_four

KIND = "stripe_secret"

State = Literal["in force", "not yet", "ending", "expired", "retired"]


class SecretRefused(ReloError):
    """What was given is no signing secret, or its validity is none."""


class NoSuchSecret(ReloError):
    """No secret, or no single one, of the client has this name."""


class NoSuchClient(ReloError):
    """The registry has no client of this slug."""


class Listed(msgspec.Struct, frozen=True):
    """A secret, as it may be shown."""

    fingerprint: str
    secret: StripeSecret

    def state(self, now: dt.datetime) -> State:
        if self.secret.valid_to <= now:
            return "retired" if self.secret.status == "retired" else "expired"
        if self.secret.valid_from > now:
            return "not yet"
        return "ending" if self.secret.status == "retired" else "in force"

    def line(self, now: dt.datetime) -> str:
        secret = self.secret
        return (
            f"{secret.client:<16} {secret.last_four:<6} {self.fingerprint}  {secret.mode:<5} "
            f"{_shown(secret.valid_from):<21} {_shown(secret.valid_to):<21} {self.state(now)}"
        )


HEADING = f"{'client':<16} {'ends':<6} {'fingerprint':<17} {'mode':<5} {'valid from':<21} {'valid to':<21} status"


def add(
    now: Current,
    keyring: Keyring,
    slug: str,
    secret: str,
    mode: Mode = "both",
    valid_from: dt.datetime = BEGINNING,
    valid_to: dt.datetime = END,
) -> list[Change]:
    """The change that puts a secret into force: nothing when it is so already. A retired one comes back.

    Raises NoSuchClient and SecretRefused; no message holds the secret.
    """
    client_id = client_id_of(now, slug)
    if re.fullmatch(r"[rs]k_(live|test)_\S+", secret):
        raise SecretRefused("this is an API key; the signing secret of the webhook begins with whsec_")
    if not re.fullmatch(r"whsec_[!-~]+", secret):
        raise SecretRefused("expected a signing secret: one line that begins with whsec_")
    if valid_from >= valid_to:
        raise SecretRefused("--valid-to must be later than --valid-from")
    key = f"{slug}/{fingerprint(secret)}"
    before = now.get((KIND, key), {})
    new = StripeSecret(
        client_id=client_id,
        client=slug,
        token=_token(before, keyring, secret),
        last_four=last_four(secret),
        mode=mode,
        valid_from=valid_from,
        valid_to=valid_to,
    )
    if before and msgspec.convert(before, StripeSecret) == new:
        return []
    return [Change(KIND, key, before, _body(new))]


def retire(now: Current, slug: str, name: str, at: dt.datetime) -> list[Change]:
    """The change that ends the secret with these last four characters, or this fingerprint, at ``at``.

    Raises NoSuchClient and NoSuchSecret.
    """
    client_id_of(now, slug)
    own = listed(now, slug)
    named = name.removeprefix("…")
    found = [s for s in own if named in (s.fingerprint, s.secret.last_four.removeprefix("…"))]
    current = [s for s in found if s.secret.status == "active"] or found
    if not current:
        there = ", ".join(s.secret.last_four for s in own) or "none"
        raise NoSuchSecret(f"client {slug} has no secret ending {named[-4:]}; it has {there}: `relo secret list`")
    if len(current) > 1:
        names = ", ".join(s.fingerprint for s in current)
        raise NoSuchSecret(f"several secrets of client {slug} end so; name the fingerprint of one: {names}")
    ended = current[0]
    # Never later than it would have ended anyway: that would bring it back.
    end = min(at, ended.secret.valid_to)
    body = _body(msgspec.structs.replace(ended.secret, status="retired", valid_to=end))
    key = f"{slug}/{ended.fingerprint}"
    return [Change(KIND, key, now[KIND, key], body)] if body != _body(ended.secret) else []


def listed(now: Current, slug: str = "") -> list[Listed]:
    """The secrets of a client, or of all, by client and by when they began. Raises NoSuchClient."""
    if slug:
        client_id_of(now, slug)
    found = [
        Listed(key.rpartition("/")[2], msgspec.convert(body, StripeSecret))
        for (kind, key), body in now.items()
        if kind == KIND and (not slug or body["client"] == slug)
    ]
    return sorted(found, key=lambda s: (s.secret.client, s.secret.valid_from, s.fingerprint))


def gaps(now: Current, slug: str, at: dt.datetime) -> Iterator[str]:
    """Modes for which the client has no secret in force at ``at``: their webhooks would be refused."""
    modes = [s.secret.mode for s in listed(now, slug) if s.secret.valid_from <= at < s.secret.valid_to]
    for mode in ("live", "test"):
        if not {mode, "both"} & set(modes):
            yield mode


def client_id_of(now: Current, slug: str) -> int:
    """Raises NoSuchClient."""
    body = now.get(("client", slug))
    if body is None:
        known = ", ".join(sorted(key for kind, key in now if kind == "client")) or "none"
        raise NoSuchClient(f"there is no client {slug}; the registry has {known}: `relo apply` adds one")
    client_id: int = body["client_id"]
    return client_id


def _token(before: dict[str, object], keyring: Keyring, secret: str) -> str:
    """The stored one where it opens: encrypted anew it would look like a change."""
    token = str(before.get("token", ""))
    try:
        return token if token and keyring.decrypt(token) == secret else keyring.encrypt(secret)
    except Undecryptable:
        return keyring.encrypt(secret)


def _body(secret: StripeSecret) -> dict[str, object]:
    body: dict[str, object] = msgspec.to_builtins(secret)
    return body


def _shown(moment: dt.datetime) -> str:
    if moment in (BEGINNING, END):
        return "always"
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
