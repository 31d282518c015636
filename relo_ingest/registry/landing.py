"""Where a link leads: the offer's landing page, or a page that the link itself names (``to``), and no other host.

What a browser makes of an address is not always what a parser makes of it, so nothing is parsed that is not plain:
an address is taken apart by one strict pattern, its host is compared as text, and what does not match is not used.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote, unquote_plus

import msgspec

CLICK_ID = "click_id"
"""The parameter that the pixel reads on the landing page."""
LONGEST_TARGET = 2048
"""Characters of ``to``; browsers and proxies begin to cut not far above."""

# (?ai:…): of any case, in ASCII. Without the a, U+017F is an s, U+212A a k, and U+0130 an i.
WEB_ADDRESS = re.compile(
    r"((?ai:https?))://((?:\[(?ai:[0-9a-f:.]+)\]|[^/?#\s\\@\[\]:]+)(?::[0-9]{1,5})?)([/?#][^\s\\]*)?"
)
"""Scheme, host with its port, and the rest, of an address that an operator wrote."""

_LABELS = r"[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)*"
HOST = re.compile(rf"{_LABELS}(?::[0-9]{{1,5}})?|\*\.[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
"""An entry of ``deep_link_hosts``: ``shop.example``, ``shop.example:8443``, ``*.shop.example`` (its subdomains)."""
# No user, no IPv6, no percent-encoding, no letters beyond ASCII: a host that needs one of them matches nothing.
_TARGET = re.compile(rf"((?ai:https?))://((?ai:{_LABELS})(?::[0-9]{{1,5}})?)([/?#].*)?")
# What browsers strip or turn into a slash: control characters, spaces, backslashes; and signs that reverse the text.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028-\u202e\u2066-\u2069\ufeff\ufffd]").search
_SAFE = "%/?#[]@!$&'()*+,;=:~"
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


class Landing(msgspec.Struct, frozen=True):
    """An offer, as one partner's link leads to it."""

    offer: str
    page: str
    """The landing page, as the operator wrote it and the click records it."""
    address: str
    """The same in ASCII."""
    before: str
    after: str
    """The address that the visitor is sent to is ``before``, the click id, further parameters, ``after``."""
    append: tuple[str, ...] = ()
    """Parameters of the link that are handed on."""
    cookie_life: bytes = b""
    """``; Max-Age=…`` of the click cookie, and of the cookie that finds repeats."""
    dedup_life: bytes = b""
    dedup_cookie: bytes = b""
    """Name of the latter, and ``=``. Slugs have no dot, so that no two links share one."""
    dedup_ms: int = 0
    scheme: str = "https"
    hosts: frozenset[str] = frozenset()
    """Besides these, the subdomains of ``domains`` (``.shop.example``) may be deep links' hosts."""
    domains: tuple[str, ...] = ()

    def target(self, to: str) -> str:
        """``to`` as it may stand in a header, or "" when it is not a web address on a host of this offer.

        A target may not be less safe than the landing page: http only if that is http too.
        """
        found = None if len(to) > LONGEST_TARGET or _FORBIDDEN(to) else _TARGET.fullmatch(to)
        if found is None:
            return ""
        scheme, host = found[1].lower(), found[2].lower().removesuffix(_DEFAULT_PORT[found[1].lower()])
        if scheme not in ("https", self.scheme) or not (host in self.hosts or host.endswith(self.domains or ("\0",))):
            return ""
        return f"{scheme}://{host}{quote(found[3] or '', safe=_SAFE)}"


class OfferTerms(msgspec.Struct):
    """What links need of an offer's entry in the registry; one of before these fields has their defaults."""

    client: str
    slug: str
    landing_page: str
    status: str
    append: tuple[str, ...] = ()
    deep_link_hosts: tuple[str, ...] = ()
    fallback_page: str = ""
    cookie_days: int = 60
    dedup_minutes: int = 30

    def landing(self, ref: str) -> Landing:
        """Prepared once, so that a click costs no more than putting text together."""
        address = in_ascii(self.landing_page)
        before, after = split_at_click_id(address)
        found = WEB_ADDRESS.match(address)
        scheme = found[1].lower() if found else "https"
        own = found[2].lower().removesuffix(_DEFAULT_PORT[scheme]) if found else ""
        return Landing(
            self.slug,
            self.landing_page,
            address,
            before,
            after,
            self.append,
            b"; Max-Age=%d" % (self.cookie_days * 86_400),
            b"; Max-Age=%d" % (self.dedup_minutes * 60),
            f"_relo_at.{ref}.{self.slug}=".encode(),
            self.dedup_minutes * 60_000,
            scheme,
            frozenset(h for h in (own, *self.deep_link_hosts) if h and not h.startswith("*")),
            tuple(h[1:] for h in self.deep_link_hosts if h.startswith("*.")),
        )


def split_at_click_id(address: str, without: Collection[str] = ()) -> tuple[str, str]:
    """What stands before and after the click id when it is appended to the query, and to the fragment's front.

    A click id that the address already has goes, and parameters named in ``without``; the others stay as they are.
    """
    head, hash_sign, fragment = address.partition("#")
    path, _, query = head.partition("?")
    gone = (CLICK_ID, *without)
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in gone]
    return f"{path}?{'&'.join([*kept, CLICK_ID])}=", f"{hash_sign}{fragment}"


def in_ascii(address: str) -> str:
    """A web address as headers and browsers take it: the host in its ``xn--`` form, the rest percent-encoded."""
    found = WEB_ADDRESS.fullmatch(address)
    if found is None:
        return quote(address, safe=_SAFE)
    host = found[2]
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            host = quote(host, safe=_SAFE)
    return f"{found[1].lower()}://{host}{quote(found[3] or '', safe=_SAFE)}"
