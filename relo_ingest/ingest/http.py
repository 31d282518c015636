"""What the handlers share of HTTP: reading a body safely, looking at headers, answering."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from relo_ingest.errors import (
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    CLIENT_DISCONNECTED,
    Problem,
    RequestRefused,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, not UTF-8, or nested too deep."""

CORS = (b"access-control-allow-origin", b"*")
JSON_TYPE = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")


def header(scope: Scope, name: bytes) -> bytes:
    """The first value of a header (``name`` in lower case), or b"" ."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


def text_header(scope: Scope, name: bytes) -> str:
    """A header as text; bytes that are not UTF-8 are replaced."""
    return header(scope, name).decode("utf-8", "replace")


async def read_body(scope: Scope, receive: Receive, limit: int, deadline_s: float) -> bytes:
    """The whole body.

    Raises RequestRefused: BODY_TOO_LARGE beyond ``limit`` bytes, BODY_TOO_SLOW after ``deadline_s`` seconds,
    CLIENT_DISCONNECTED when the sender went away.
    """
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise RequestRefused(BODY_TOO_LARGE)
    try:
        async with asyncio.timeout(deadline_s):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body: bytes = message.get("body", b"")
                if len(body) > limit:
                    raise RequestRefused(BODY_TOO_LARGE)
                return body
            return await _read_chunks(message, receive, limit)
    except TimeoutError:
        raise RequestRefused(BODY_TOO_SLOW) from None


async def _read_chunks(message: Message, receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise RequestRefused(CLIENT_DISCONNECTED)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RequestRefused(BODY_TOO_LARGE)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


async def respond(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
    found = [*headers]
    if status != 204:
        found.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": found})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, status: int, content: object, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    await respond(send, status, (JSON_TYPE, NO_STORE, *headers), msgspec.json.encode(content))


async def respond_problem(send: Send, problem: Problem, detail: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """The one shape of errors: ``{"error": {"code", "message"}}``."""
    extra = list(headers)
    if problem.retry_after_s:
        extra.append((b"retry-after", b"%d" % problem.retry_after_s))
    await respond_json(send, problem.status, {"error": problem_content(problem, detail)}, extra)


def problem_content(problem: Problem, detail: str = "") -> dict[str, str]:
    return {"code": problem.code, "message": f"{problem.message} {detail}".rstrip()}


def cookies(scope: Scope) -> dict[str, str]:
    """The request's cookies; the first of a name wins, as browsers send the most specific first."""
    found: dict[str, str] = {}
    for part in text_header(scope, b"cookie").split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def truncated_ip(scope: Scope, forwarded_hops: int) -> str:
    """The visitor's address, cut to its network: IPv4 /24, IPv6 /48; "" when there is none to trust.

    With ``forwarded_hops`` proxies of ours in front, it is that entry of X-Forwarded-For, counted from the right.
    """
    peer = scope.get("client")
    address = peer[0] if peer else ""
    if forwarded_hops:
        hops = text_header(scope, b"x-forwarded-for").split(",")
        address = hops[-forwarded_hops].strip() if len(hops) >= forwarded_hops else ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, prefix), strict=False).network_address)


def is_https(scope: Scope, forwarded_hops: int) -> bool:
    """Whether the visitor's side is TLS: as the proxy in front says, when there is one of ours."""
    if forwarded_hops:
        return header(scope, b"x-forwarded-proto").lower() == b"https"
    return bool(scope.get("scheme") == "https")
