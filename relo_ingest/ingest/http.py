"""What the handlers share of HTTP: looking at headers, answering."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from relo_ingest.errors import INVALID_EVENT, Problem, RequestRefused

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


def cors(scope: Scope) -> Headers:
    """Lets the page that asked read the answer, also when it asked with its cookies: browsers refuse it ``*`` then.

    For answers that are the same whatever the cookies are.
    """
    origin = header(scope, b"origin")
    if not origin:
        return [CORS]
    return [(CORS[0], origin), (b"access-control-allow-credentials", b"true"), (b"vary", b"origin")]


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


def query_pairs(scope: Scope) -> list[tuple[str, str]]:
    """The query's parameters in their order, decoded. Raises RequestRefused when there are more than 100."""
    try:
        return parse_qsl(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise RequestRefused(INVALID_EVENT, "Send at most 100 parameters.") from None
