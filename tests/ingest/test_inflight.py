"""Reading a body: whole when it has the length its sender said, or when the server says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relo_ingest.errors import BODY_TOO_LARGE, CLIENT_DISCONNECTED, RequestRefused
from relo_ingest.ingest.inflight import InFlight

LIMIT = 10


def read(messages: list[dict[str, Any]], content_length: bytes) -> tuple[bytes, int]:
    """The body, and how many messages were not asked for."""
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left)

    async def run() -> bytes:
        return await InFlight(10.0).read_body(receive, LIMIT, content_length)

    return asyncio.run(run()), len(list(left))


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


END = part(b"", more=False)


@pytest.mark.parametrize(
    ("messages", "content_length", "body", "left"),
    [
        ([part(b"12345"), END], b"5", b"12345", 1),
        ([part(b"123"), part(b"45"), END], b"5", b"12345", 1),
        ([part(b"12345"), END], b"", b"12345", 0),
        ([part(b"123"), part(b"45"), END], b"", b"12345", 0),
        ([part(b"12345", more=False)], b"5", b"12345", 0),
        ([part(b"123"), END], b"5", b"123", 0),
        ([part(b"12345"), END], b"-5", b"12345", 0),
        ([END], b"0", b"", 0),
    ],
    ids=["told", "told, in parts", "not told", "not told, in parts", "one message", "shorter than told", "no number",
         "empty"],
)  # fmt: skip
def test_a_body_ends_where_its_sender_or_the_server_says(
    messages: list[dict[str, Any]], content_length: bytes, body: bytes, left: int
) -> None:
    assert read(messages, content_length) == (body, left)


@pytest.mark.parametrize("content_length", [b"", b"5", b"11"], ids=["not told", "told less", "told"])
@pytest.mark.parametrize("parts", [[b"12345678901"], [b"123456", b"78901"]], ids=["at once", "in parts"])
def test_a_body_beyond_the_limit_is_refused(content_length: bytes, parts: list[bytes]) -> None:
    with pytest.raises(RequestRefused) as refused:
        read([*(part(p) for p in parts), END], content_length)
    assert refused.value.problem is BODY_TOO_LARGE


def test_a_sender_that_goes_away_before_its_body_is_whole_is_no_request() -> None:
    with pytest.raises(RequestRefused) as refused:
        read([part(b"123"), {"type": "http.disconnect"}], b"5")
    assert refused.value.problem is CLIENT_DISCONNECTED
