"""What has no column of its own: kept in ``properties``, one JSON object, as it came where that is safe."""

from __future__ import annotations

import json
import math
import re

import msgspec

from relo_ingest._fast import jsontext
from relo_ingest.ingest.privacy import without_addresses

LONGEST_NUMBER = 4000
"""Digits; Python refuses to convert longer ones, because that takes quadratic time."""


ADDRESS = re.compile(rb"(?<![\w.%+'-])[\w.%+'-]++@(?:[\w-]++\.)+[A-Za-z\x80-\xff]{2,}+")
"""An e-mail address within JSON text without escapes: in ``\\nann@example.com`` it would take the n for the address."""


def storable(text: bytes) -> bytes:
    """``text`` (one JSON object) itself if ClickHouse takes it, else what comes closest; without e-mail addresses.

    Lone surrogates and bytes that are not UTF-8 become U+FFFD, numbers that no double holds become strings, and what is
    nested deeper than MAX_DEPTH becomes the text of itself.
    """
    has_address = b"@" in text or b"\\u0040" in text
    if not jsontext.is_plain(text) or (has_address and b"\\" in text):
        return _rewritten(text)
    return ADDRESS.sub(b"REDACTED", text) if has_address else text


def _rewritten(text: bytes) -> bytes:
    try:
        parsed = json.loads(text.decode("utf-8", "replace"), strict=False, parse_float=_number, parse_int=_number)
        return msgspec.json.encode(_tamed(parsed, 1))
    except (ValueError, RecursionError):
        # A parser before us was content with it, and this one is not: keep the text, as a string. What is nested some
        # 900 deep may be read and still not written: both count against the same stack.
        return msgspec.json.encode({"_relo_unreadable": without_addresses(text[:1000].decode("utf-8", "replace"))})


def _number(text: str) -> float | int | str:
    if text.lstrip("-").isdigit():
        return int(text) if len(text) < 19 else text
    value = float(text)
    return value if math.isfinite(value) and len(text) < LONGEST_NUMBER else text


def _tamed(value: object, depth: int) -> object:
    if isinstance(value, str):
        return without_addresses("".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict | list):
        if depth > jsontext.MAX_DEPTH - 1:
            return _tamed(json.dumps(value), depth)
        if isinstance(value, list):
            return [_tamed(v, depth + 1) for v in value]
        return {str(_tamed(k, depth)): _tamed(v, depth + 1) for k, v in value.items()}
    return value
