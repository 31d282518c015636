"""Just enough of ClickHouse's lexer to cut a request into statement and data.

The engine parses the SQL. What has to be known before it does: is this an INSERT, in which format and from
which byte does its data begin (`src/Parsers/ParserInsertQuery.cpp`), and which FORMAT does a query ask for. Works
on bytes, because the data behind the statement is not text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import QueryError

_TOKEN = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^'\\]|\\.|'')*')
    |(?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
    |(?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9][A-Za-z0-9_.]*)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BEFORE_DATA = re.compile(rb"[ \t\f]*\r?\n?")
_PAIR = rb"\w+\s*=\s*(?:'(?:[^'\\]|\\.)*'|[-+.\w]+)"
_SETTINGS = re.compile(rb"\s+SETTINGS\s+" + _PAIR + rb"(?:\s*,\s*" + _PAIR + rb")*", re.IGNORECASE | re.DOTALL)
_OPENING, _CLOSING = b"([{", b")]}"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    start: int
    end: int
    depth: int
    value: bytes  # a word in upper case, anything else as written


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose rows come behind the statement."""

    statement: str  # without VALUES, FORMAT and data; ends ready for a FORMAT clause
    format: str
    data_at: int  # offset of the first byte of data
    from_input: tuple[int, int] | None  # where `input` of `input('structure')` stands in the statement, if it does


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "skip":
            continue
        value = match.group()
        if kind == "mark":
            if value in _CLOSING:
                depth = max(0, depth - 1)
            yield _Token(kind, match.start(), match.end(), depth, value)
            if value in _OPENING:
                depth += 1
        else:
            # `tag` is the last group that closes inside a heredoc
            kind = "heredoc" if kind == "tag" else kind
            yield _Token(kind, match.start(), match.end(), depth, value.upper() if kind == "word" else value)


def first_keyword(text: bytes) -> str:
    """The word a statement begins with, in upper case, past comments and brackets; "" when there is none."""
    for token in _tokens(text):
        if token.kind == "word":
            return token.value.decode()
        if token.value != b"(":
            break
    return ""


def parse_insert(text: bytes) -> Insert | None:
    """Cut an INSERT with data; None for anything else, INSERT … SELECT without `input()` included.

    Raises QueryError 78 for FROM INFILE, which ClickHouse refuses over HTTP: the file would be the server's.
    """
    tokens = _tokens(text)
    head = next(tokens, None)
    if head is None or head.value != b"INSERT":
        return None
    name_next = True  # a table may be called `values` or `format`
    selecting = False
    input_at: tuple[int, int] | None = None
    for token in tokens:
        if token.kind != "word":
            name_next = token.value == b"."
            continue
        word = token.value
        if name_next and word in (b"INTO", b"TABLE", b"FUNCTION"):
            continue
        if selecting and word == b"INPUT" and text[token.end : token.end + 1] == b"(":
            input_at = (token.start, token.end)
        if name_next or token.depth:
            name_next = False
        elif word in (b"SELECT", b"WITH"):
            selecting = True
        elif word == b"INFILE" and not selecting:
            raise QueryError(78, "UNKNOWN_TYPE_OF_QUERY", "Query has infile and was send directly to server")
        elif word == b"VALUES" and not selecting:
            return Insert(text[: token.start].decode(), "Values", token.end, None)
        elif word == b"FORMAT" and (not selecting or input_at):
            name = next(tokens, None)
            if name is None or name.kind != "word":
                return None
            return _insert_with_format(text, token.start, name, input_at)
    return None


def _insert_with_format(text: bytes, cut: int, name: _Token, input_at: tuple[int, int] | None) -> Insert:
    statement, end = text[:cut], name.end
    if (settings := _SETTINGS.match(text, end)) is not None:  # looked for behind FORMAT, as ClickHouse does
        statement, end = statement + settings.group(), settings.end()
    if text[end : end + 1] == b";":
        raise QueryError(62, "SYNTAX_ERROR", "You have excessive ';' symbol before data for INSERT")
    skipped = _BEFORE_DATA.match(text, end)
    data_at = skipped.end() if skipped else end
    return Insert(statement.decode(), text[name.start : name.end].decode(), data_at, input_at)


def split_settings(statement: str) -> tuple[str, str]:
    """An INSERT's text before its own SETTINGS clause, and that clause ("" without one)."""
    text = statement.encode()
    name_next = True
    for token in _tokens(text):
        if token.kind == "word" and token.value == b"SETTINGS" and not token.depth and not name_next:
            return text[: token.start].decode(), text[token.start :].decode()
        name_next = token.value in (b".", b"INSERT", b"INTO", b"TABLE")
    return statement, ""


def output_format(text: bytes) -> tuple[str, tuple[int, int]] | None:
    """The FORMAT a query ends with and where that clause stands; None when it is left to the request.

    Raises QueryError 358 for INTO OUTFILE, refused over HTTP: the file would be the server's.
    """
    lowered = text.lower()
    if b"format" not in lowered and b"outfile" not in lowered:
        return None
    found: tuple[str, tuple[int, int]] | None = None
    previous: _Token | None = None
    for token in _tokens(text):
        if token.depth == 0:
            if token.value == b"OUTFILE" and previous is not None and previous.value == b"INTO":
                raise QueryError(358, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed")
            if previous is not None and previous.value == b"FORMAT" and token.kind == "word":
                found = (text[token.start : token.end].decode(), (previous.start, token.end))
            elif found and previous is not None and previous.end == found[1][1]:
                # `SELECT format AS f FROM t`: a FORMAT clause is followed by SETTINGS, `;` or nothing
                found = found if token.value in (b"SETTINGS", b";") else None
        previous = token
    return found


def is_setting_name(name: str) -> bool:
    """Whether `name` may stand unquoted in SET."""
    return _IDENTIFIER.fullmatch(name) is not None


def quote(value: str) -> str:
    """`value` as a ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def quote_identifier(name: str) -> str:
    """`name` as a quoted ClickHouse identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
