"""The pixel's cookies, set by the server for an ingest on the site's own subdomain.

Safari keeps what a script stores for 7 days, and what a server of the site sets for as long as it says. So a client
with a ``cookie_domain`` (``shop.example``) gets the ids of its beacons back as cookies of that domain, when both the
page and the ingest are in it (``https://www.shop.example``, ``https://relo.shop.example``). Without HttpOnly, because
the script reads them; they open nothing.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from relo_ingest._fast import ulid
from relo_ingest.ingest.http import Headers, Scope, header
from relo_ingest.ingest.visitor import Visitors

CLICK_COOKIE, DEVICE_COOKIE = "_relo_cid", "_relo_did"
MAX_AGE_S = 60 * 86400
"""As long as the script would keep them."""


def answer_headers(scope: Scope, visitors: Visitors, domain: str, click_id: str, device_id: str) -> Headers | None:
    """Of the answer to a beacon that came from a page in ``domain`` to an ingest in it; None for any other."""
    origin = header(scope, b"origin")
    if not (_is_within(_host(origin), domain) and _is_within(_host(b"//" + header(scope, b"host")), domain)):
        return None
    # A browser takes cookies from another origin only when that names its page, and says so.
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
    ]
    secure = "; Secure" if visitors.is_https(scope, header(scope, b"x-forwarded-proto")) else ""
    for name, value in ((CLICK_COOKIE, click_id), (DEVICE_COOKIE, device_id)):
        if ulid.is_valid(value):
            cookie = f"{name}={value}; Path=/; Max-Age={MAX_AGE_S}; SameSite=Lax; Domain={domain}{secure}"
            headers.append((b"set-cookie", cookie.encode()))
    return headers


def _host(address: bytes) -> str:
    try:
        return urlsplit(address.decode("ascii")).hostname or ""
    except ValueError:
        return ""


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)
