"""``relo link``: short links, ``/c/{code}``. Each is a row of the registry that is never changed: a printed code stays
what it was."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import msgspec

from relo_ingest.errors import ReloError
from relo_ingest.registry.apply import Change, Current
from relo_ingest.registry.landing import OfferTerms

KIND = "link"
PATH = "/c/"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Base 58: without 0, O, I and l, which people confuse."""
LENGTH = 7
"""2 * 10**12 codes: with a million of them taken, a guess finds one in two million times."""
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class LinkRefused(ReloError):
    """What was asked for would not lead where it says."""


class ShortLink(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a row of the kind ``link``.

    ``offer``: the one that it was made for, also where nobody named one. Rows of before may have none, and lead to the
    partner's first, whichever that is.
    """

    client_id: int
    client: str
    code: str
    ref: str
    offer: str = ""
    to: str = ""
    parameters: dict[str, str] = {}

    def long(self) -> str:
        """The link that it is short for."""
        told = {"ref": self.ref, "offer": self.offer, "to": self.to, **self.parameters}
        return f"/r?{urlencode({name: value for name, value in told.items() if value})}"


def create(
    now: Current, ref: str, offer: str = "", to: str = "", parameters: Mapping[str, str] | None = None, code: str = ""
) -> Change:
    """The row of a new link, with a random code where none is given. Raises LinkRefused."""
    partner = now.get(("partner", ref))
    if partner is None:
        raise LinkRefused(
            f"--ref: there is no partner {ref}: `relo apply` adds one" if ref else "--ref: whose link is it?"
        )
    if offer and offer not in partner["offers"]:
        raise LinkRefused(f"partner {ref} does not share an offer {offer}; there are {', '.join(partner['offers'])}")
    terms = {
        slug: msgspec.convert(now["offer", f"{partner['client']}/{slug}"], OfferTerms) for slug in partner["offers"]
    }
    # Where the long link leads today. Left open, it would lead elsewhere as soon as the partner's offers change.
    slug = offer or next((slug for slug, t in terms.items() if t.status == "active"), partner["offers"][0])
    if to and not terms[slug].landing(ref).target(to):
        raise LinkRefused(
            f"--to: expected https, on the host of the landing page of {slug} or on one of its deep_link_hosts"
        )
    if code and not CODE.fullmatch(code):
        raise LinkRefused("--code: expected letters, digits, - and _, at most 64")
    if code and (KIND, code) in now:
        raise LinkRefused(f"the code {code} is taken; a short link never changes, so choose another")
    link = ShortLink(
        client_id=partner["client_id"],
        client=partner["client"],
        code=code or _unused_code(now),
        ref=ref,
        offer=slug,
        to=to,
        parameters=dict(parameters or {}),
    )
    return Change(KIND, link.code, {}, msgspec.to_builtins(link))


def listed(now: Current, ref: str = "") -> Iterator[ShortLink]:
    """All short links, or those of a partner, by partner and code."""
    found = [msgspec.convert(body, ShortLink) for (kind, _), body in now.items() if kind == KIND]
    yield from sorted((s for s in found if ref in ("", s.ref)), key=lambda s: (s.ref, s.code))


def _unused_code(now: Current) -> str:
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        if (KIND, code) not in now:
            return code
