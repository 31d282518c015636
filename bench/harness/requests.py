"""The requests that the questions send, byte for byte as a browser and Stripe send them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from bench.harness.events import SECRET, checkout_completed
from relo_ingest._fast import signature, ulid

HEADERS = (
    ("host", "127.0.0.1:4080"),
    ("user-agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"),
    ("sec-ch-ua", '"Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Windows"'),
    ("accept", "*/*"),
    ("origin", "https://shop.example.com"),
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("referer", "https://shop.example.com/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9,es;q=0.8"),
    ("content-type", "application/json"),
)
"""Chrome's. application/json and not the pixel's text/plain: FastAPI reads nothing else."""

STRIPE_HEADERS = (
    ("host", "127.0.0.1:4080"),
    ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
    ("accept", "*/*; q=0.5, application/xml"),
    ("cache-control", "no-cache"),
    ("content-type", "application/json; charset=utf-8"),
)


def page_view(event_id: str, at_ms: int) -> dict[str, Any]:
    """As r.js sends it; ``loads/beacon.lua`` sends the same."""
    return {
        "client_id": 1,
        "event": "page",
        "event_id": event_id,
        "ts": at_ms,
        "cid": "01JD4Z5G7QH8M3N2P1R0S9T8V7",
        "did": "01JD4Z5G7QH8M3N2P1R0S9T8V7",
        "url": "https://shop.example.com/products/linen-shirt?variant=sand&size=m",
        "referrer": "https://shop.example.com/",
        "title": "Linen shirt in sand, Demo shop",
        "lang": "en-US",
        "screen": "1920x1080",
    }


def beacon() -> bytes:
    return _post("/e", msgspec.json.encode(page_view(ulid.new(), _now_ms())))


def beacon_in_query() -> bytes:
    """The same fields in the query: for nginx, which logs no bodies."""
    return _head("GET", f"/e?{urlencode(page_view(ulid.new(), _now_ms()))}", HEADERS[:-1]) + b"\r\n"


def batch(events: int, path: str = "/e") -> bytes:
    return _post(path, msgspec.json.encode([page_view(ulid.new(), _now_ms()) for _ in range(events)]))


def link() -> bytes:
    """A click on a partner's link that was shared on Facebook."""
    path = f"/r?ref=ana&s1=newsletter&s2=autumn&fbclid=IwAR0{ulid.new()}{ulid.new()}"
    return _head("GET", path, HEADERS[:-1]) + b"\r\n"


def webhook() -> bytes:
    """Signed now."""
    body = checkout_completed(ulid.new())
    signed = ("stripe-signature", signature.sign(body, SECRET, int(time.time())))
    return _post("/postback/stripe/demo", body, (*STRIPE_HEADERS, signed))


def write(path: Path, requests: Iterable[bytes]) -> Path:
    """For ``loads/replay.lua``: length and bytes of each."""
    with path.open("wb") as file:
        for request in requests:
            file.write(b"%d\n%s" % (len(request), request))
    return path


def _post(path: str, body: bytes, headers: Iterable[tuple[str, str]] = HEADERS) -> bytes:
    return _head("POST", path, headers) + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def _head(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{method} {path} HTTP/1.1\r\n{lines}".encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
