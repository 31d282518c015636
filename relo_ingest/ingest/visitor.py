"""What is written of who sent a request: the network of the address, the user agent, whether it is a bot.

Visitors come back, so what was worked out once is remembered; a memo that has grown is emptied, because a hostile
sender could fill it, and the next requests work it out again.
"""

from __future__ import annotations

import ipaddress
import re

from relo_ingest.ingest import bots
from relo_ingest.ingest.http import Scope

_COUNTRY = re.compile("[A-Z][A-Z0-9]")
MEMO_ENTRIES = 20_000
"""At most some 10 MB per memo, with user agents as long as a column takes."""


class Visitors:
    def __init__(self, forwarded_hops: int) -> None:
        self._hops = forwarded_hops
        self._networks: dict[str, str] = {}
        self._agents: dict[bytes, tuple[str, str]] = {}

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
            known = self._networks[address] = truncated(address)
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

    def agent(self, user_agent: bytes) -> tuple[str, str]:
        """The header as text, bytes that are not UTF-8 replaced; and what makes it a bot's, "" for a person's."""
        known = self._agents.get(user_agent)
        if known is None:
            if len(self._agents) >= MEMO_ENTRIES:
                self._agents.clear()
            text = user_agent[:1024].decode("utf-8", "replace")
            known = self._agents[user_agent] = (text, bots.by_name(text))
        return known


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
