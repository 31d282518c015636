"""The pixel's cookies, set by the server for an ingest on the site's own subdomain.

Safari keeps what a script stores for 7 days, and what a server of the site sets for as long as it says. So a client
with a ``cookie_domain`` (``shop.example``) gets the ids of its beacons back as cookies of that domain, when both the
page and the ingest are in it (``https://www.shop.example``, ``https://relo.shop.example``). Without HttpOnly, because
the script reads them; they open nothing.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from relo_ingest._fast import ulid
from relo_ingest.ingest.click_cookies import cookie
from relo_ingest.ingest.http import Headers, Scope, cors, header
from relo_ingest.ingest.visitor import Visitors

CLICK_COOKIE, DEVICE_COOKIE = "_relo_cid", "_relo_did"
MAX_AGE_S = 60 * 86400
"""As long as the script would keep them."""


def answer_headers(
    scope: Scope, visitors: Visitors, domain: str, click_id: str, device_id: str, *, is_private: bool = False
) -> Headers | None:
    """Of the answer to a beacon that came from a page in ``domain`` to an ingest in it; None for any other.

    A cookie that came with the beacon is the one that is set again, for as long as it says: the beacon may have waited,
    and its ``click_id`` is then older than the click that the browser has now. ``is_private``: no cookies.
    """
    origin = header(scope, b"origin")
    if not (_is_within(_host(origin), domain) and _is_within(_host(b"//" + header(scope, b"host")), domain)):
        return None
    headers = cors(scope)
    if is_private:
        return headers
    there = header(scope, b"cookie")
    secure = "; Secure" if visitors.is_https(scope, header(scope, b"x-forwarded-proto")) else ""
    for name, sent in ((CLICK_COOKIE, click_id), (DEVICE_COOKIE, device_id)):
        kept = cookie(there, f"{name}=".encode())
        value = kept if ulid.is_valid(kept) else sent
        if ulid.is_valid(value):
            line = f"{name}={value}; Path=/; Max-Age={MAX_AGE_S}; SameSite=Lax; Domain={domain}{secure}"
            headers.append((b"set-cookie", line.encode()))
    return headers


def _host(address: bytes) -> str:
    try:
        return urlsplit(address.decode("ascii")).hostname or ""
    except ValueError:
        return ""


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)
