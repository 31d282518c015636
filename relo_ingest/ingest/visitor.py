"""What is written of who sent a request: the network of the address, the user agent, whether it is a bot.

Visitors come back, so what was worked out once is remembered; a memo that has grown is emptied, because a hostile
sender could fill it, and the next requests work it out again.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from relo_ingest.ingest import bots, signals
from relo_ingest.ingest.http import Scope

_COUNTRY = re.compile("[A-Z][A-Z0-9]")
MEMO_ENTRIES = 20_000
LONGEST_REMEMBERED = 512
"""Bytes of what a memo is asked for: of browsers hardly any is longer, and a header may have 64 KiB. So a memo takes
some 20 MB at most."""
LONGEST_ADDRESS = 45

TELLING_HEADERS = (b"user-agent", *signals.HEADERS, *bots.PURPOSE_HEADERS)
"""What a request says of whoever sent it: ``Visitors.visitor`` takes their values, in this order."""


class Visitor(msgspec.Struct, frozen=True, gc=False):
    """``agent``: the User-Agent as text. ``bot_reason``: what makes it a bot, "" for a person. ``is_private``: it sent
    Global Privacy Control or Do Not Track."""

    agent: str
    is_bot: bool
    bot_reason: str
    is_private: bool


class Visitors:
    def __init__(self, forwarded_hops: int) -> None:
        self._hops = forwarded_hops
        self._networks: dict[str, str] = {}
        self._visitors: dict[tuple[bytes, ...], Visitor] = {}

    def network(self, scope: Scope, forwarded_for: bytes) -> str:
        """The visitor's address cut to its network, IPv4 /24, IPv6 /48; "" when there is none to trust.

        With proxies of ours in front (``ingest.forwarded_hops``) it is that entry of X-Forwarded-For, from the right.
        """
        if self._hops:
            hops = forwarded_for.decode("latin-1").split(",")
            address = hops[-self._hops].strip() if len(hops) >= self._hops else ""
        else:
            peer = scope.get("client")
            address = peer[0] if peer else ""
        known = self._networks.get(address)
        if known is None:
            if len(self._networks) >= MEMO_ENTRIES:
                self._networks.clear()
            known = truncated(address)
            if len(address) <= LONGEST_ADDRESS:
                self._networks[address] = known
        return known

    def is_https(self, scope: Scope, forwarded_proto: bytes) -> bool:
        """Whether the visitor's side is TLS: as the proxy in front says, when there is one of ours."""
        if self._hops:
            return forwarded_proto.lower() == b"https"
        return bool(scope.get("scheme") == "https")

    def country(self, said: bytes) -> str:
        """Two letters, or Cloudflare's T1 for Tor; "" for what is no country, and for XX, its word for unknown."""
        text = said[:3].decode("latin-1").upper()
        return text if _COUNTRY.fullmatch(text) and text != "XX" else ""

    def visitor(self, told: tuple[bytes, ...]) -> Visitor:
        """What the values of the TELLING_HEADERS say; of a User-Agent, bytes that are not UTF-8 are replaced."""
        return self._visitors.get(told) or self._made_out(told)

    def _made_out(self, told: tuple[bytes, ...]) -> Visitor:
        user_agent, gpc, dnt, *purposes = told
        text = user_agent[:1024].decode("utf-8", "replace")
        reason = bots.by_name(text) or bots.by_purpose(purposes)
        found = Visitor(text, reason != "", reason, gpc == b"1" or dnt == b"1")
        if sum(map(len, told)) <= LONGEST_REMEMBERED:
            if len(self._visitors) >= MEMO_ENTRIES:
                self._visitors.clear()
            self._visitors[told] = found
        return found


def truncated(address: str) -> str:
    """An IP address with its host part zeroed: IPv4 /24, IPv6 /48. "" for anything else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, prefix), strict=False).network_address)
