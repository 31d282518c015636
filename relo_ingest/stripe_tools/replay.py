"""Events as people export them from Stripe: one per line, a list, or pages of the API, in any mixture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from relo_ingest.errors import ReloError


class Unreadable(ReloError):
    """The file holds something else than JSON."""


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


def events(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Each event's own bytes, as they stand in the file. Raises Unreadable with the line.

    A file of one value per line is read line by line, however large; any other is read whole.
    """
    first = b""
    number = 0
    for number, line in enumerate(file, 1):
        first = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if first:
            break
    if not first:
        return
    if not _is_json(first):
        yield from _of_whole(first + b"\n" + file.read(), name, number)
        return
    yield from _of_value(first)
    for following, line in enumerate(file, number + 1):
        value = line.strip()
        if value:
            if not _is_json(value):
                raise Unreadable(f"{name}: line {following} is not JSON")
            yield from _of_value(value)


def _of_whole(content: bytes, name: str, first_line: int) -> Iterator[bytes]:
    """JSON values one after the other, with line breaks wherever they like."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise Unreadable(f"{name}: line {line} is not UTF-8") from None
    decoder, at, end = json.JSONDecoder(), 0, len(text)
    while True:
        while at < end and text[at] in " \t\r\n":
            at += 1
        if at == end:
            return
        try:
            _, after = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            where = getattr(error, "lineno", 1) + first_line - 1
            raise Unreadable(f"{name}: line {where} is not JSON") from None
        yield from _of_value(text[at:after].encode())
        at = after


def _of_value(value: bytes) -> Iterator[bytes]:
    """The events of a list or page; anything else is taken for an event, and refused later if it is none."""
    if value.startswith(b"["):
        for item in msgspec.json.decode(value, type=list[msgspec.Raw]):
            yield from _of_value(bytes(item))
        return
    try:
        page = msgspec.json.decode(value, type=_Page)
    except msgspec.ValidationError:
        yield value
        return
    for item in page.data:
        yield bytes(item)


def _is_json(value: bytes) -> bool:
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
