"""One query on one connection: the part that blocks, run in the threads of the pool.

How results leave the engine. `send_query` gives a SELECT block by block, and for formats without header or
footer the blocks one after another are the right bytes: these stream. All other formats (JSON, Parquet,
…WithNames…) would repeat their header, so the engine materialises them and they are held in memory.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .engine import Connection
from .errors import QueryError
from .spool import Spool
from .statements import Insert, first_keyword, output_format, quote, quote_identifier, split_settings

_STREAMED = frozenset(
    (
        "native",
        "rowbinary",
        "csv",
        "tsv",
        "tabseparated",
        "tsvraw",
        "tabseparatedraw",
        "jsoneachrow",
        "jsonlines",
        "ndjson",
    )
)
_SELECTS = frozenset(("SELECT", "WITH", "FROM"))
_SHOWS = frozenset(("SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"))
_HARMLESS_CONTROL = frozenset(("SET", "USE", "BEGIN", "COMMIT", "ROLLBACK"))
# From this size (bytes) on an insert is cut into blocks of about 16 MB, so that it does not take its own size in
# memory (the engine's default is 256 MB per block). Below, it stays one block, as on a server: all or nothing.
LARGE_INSERT = 64 << 20
_LARGE_INSERT_SETTINGS = {
    "max_insert_block_size": "16384",
    "min_insert_block_size_bytes": str(16 << 20),
    "max_insert_threads": "1",
    "storage_file_read_method": "pread",  # mapped, the body would count as memory of ours
}


@dataclass(slots=True)
class External:
    """A table sent with the query (multipart form): lives as a temporary table as long as the connection."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(slots=True)
class Query:
    """What to run: `text` is the whole statement; with `insert` the rows are in `body` instead."""

    connection: Connection
    text: bytes
    insert: Insert | None
    body: Spool | None
    settings: dict[str, str]
    params: Mapping[str, str]
    database: str | None
    default_format: str
    in_session: bool
    externals: list[External] = field(default_factory=list)

    keyword: str = ""
    format: str = ""
    done: bool = False
    rows: int = 0
    summary: dict[str, int] = field(default_factory=dict)
    _stream: Any = None
    _whole: bytes = b""
    _clause: tuple[int, int] | None = None

    @property
    def cancellable(self) -> bool:
        """Whether the query is to end when its client goes away: reads only, as in ClickHouse."""
        return self.keyword in _SELECTS or self.keyword in _SHOWS

    def inspect(self) -> None:
        """Look at the statement, without the engine; raises QueryError for what HTTP does not allow."""
        self.summary = dict.fromkeys(
            ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes"), 0
        )
        if self.insert is not None:
            self.keyword = "INSERT"
            return
        if not self.text.strip():
            raise QueryError(62, "SYNTAX_ERROR", "Empty query")
        self.keyword = first_keyword(self.text)
        asked = output_format(self.text)
        self.format, self._clause = asked if asked else (self.default_format, None)

    def start(self) -> None:
        """Run it: to the end, or for a streamed SELECT until `read`. Raises QueryError."""
        try:
            readonly = self._apply_settings()
            for table in self.externals:
                self._create_external(table)
            if self.insert is not None:
                self._check_readonly(readonly, self.insert.statement)
                self._insert(self.insert)
                return
            sql = self._text()
            self._check_readonly(readonly, sql)
            if b";" in self.text and self.connection.raw.classify_query(sql)["statement_count"] > 1:
                raise QueryError(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
            if self.keyword in _SELECTS and self.format.lower() in _STREAMED:
                try:
                    self._stream = self.connection.raw.send_query(sql, self.format, params=self.params)
                    return
                except RuntimeError as error:
                    if "Streaming query is not supported" not in str(error):  # WITH … INSERT … SELECT
                        raise
            result = self.connection.raw.query(sql, self.format, params=self.params)
            self._whole = result.bytes()
            self._count(result)
            if self.in_session and self.keyword in ("SET", "USE"):
                self.connection.remember()
        except RuntimeError as error:
            raise QueryError.from_engine(error) from None

    def read(self, enough: int) -> list[bytes]:
        """The next pieces of the result, about `enough` bytes or up to the end (`done`). Raises QueryError."""
        pieces: list[bytes] = []
        size = 0
        try:
            while self._stream is not None and size < enough:
                result = self.connection.raw.streaming_fetch_result(self._stream)
                if result is None or result.rows_read() == 0:
                    self._stream = None
                    break
                pieces.append(result.bytes())
                size += len(pieces[-1])
                self._count(result)
            if self._whole:
                pieces, self._whole = [self._whole], b""
            self.done = self._stream is None
            if self.done and not self.rows and not pieces and self.format.lower() == "native":
                pieces = [self._empty_block()]
        except RuntimeError as error:
            raise QueryError.from_engine(error) from None
        return pieces

    def cancel(self) -> None:
        """Drop a stream that will not be read to its end, so that the connection is free again."""
        if self._stream is not None:
            with contextlib.suppress(RuntimeError):
                self.connection.raw.streaming_cancel_query(self._stream)
            self._stream = None

    def _text(self) -> str:
        try:
            return self.text.decode()
        except UnicodeDecodeError:
            raise QueryError(62, "SYNTAX_ERROR", "The query is not UTF-8") from None

    def _apply_settings(self) -> str:
        settings = dict(self.settings)
        if self.body is not None and self.body.size > LARGE_INSERT:
            settings = {**_LARGE_INSERT_SETTINGS, **settings}
        # chDB takes an expression for a SELECT, a server does not. By log_comment `Engine.kill` finds us.
        settings.setdefault("implicit_select", "0")
        settings.setdefault("log_comment", self.connection.marker)
        readonly = settings.get("readonly", "0")
        if self.in_session:
            settings.pop("readonly", None)  # could never be unset on this connection again
        self.connection.prepare(settings, self.database)
        if self.params and self.insert is not None:  # send_insert takes no parameters
            values = ", ".join(f"param_{name} = {quote(value)}" for name, value in self.params.items())
            self.connection.raw.query(f"SET {values}", "Null")
        return readonly if self.in_session else "0"

    def _check_readonly(self, readonly: str, sql: str) -> None:
        if readonly == "0":
            return
        kind = self.connection.raw.classify_query(sql)["query_class"].name if self.insert is None else "MUTATING"
        temporary = self.keyword == "CREATE" and b"TEMPORARY" in self.text.upper()
        allowed = kind in ("READ_ONLY", "UNKNOWN") or self.keyword in _HARMLESS_CONTROL or temporary
        if not allowed:
            raise QueryError(164, "READONLY", "Cannot execute query in readonly mode")

    def _create_external(self, table: External) -> None:
        raw, name = self.connection.raw, quote_identifier(table.name)
        if self.in_session:
            raw.query(f"DROP TEMPORARY TABLE IF EXISTS {name}", "Null")
        raw.query(f"CREATE TEMPORARY TABLE {name} ({table.structure}) ENGINE = Memory", "Null")
        inserter = raw.send_insert(f"INSERT INTO {name}", table.format)
        raw.insert_append(inserter, table.data)
        raw.insert_done(inserter)

    def _insert(self, insert: Insert) -> None:
        assert self.body is not None
        raw = self.connection.raw
        self.done = True
        if insert.from_input is not None:
            begin, end = insert.from_input
            statement = insert.statement.encode()
            file = f"/proc/self/fd/{self.body.fileno()}"
            # `input('structure')` reads the body; file(path, format, 'structure') is the same over a descriptor
            call = f"file({quote(file)}, {insert.format}, "
            sql = (statement[:begin] + call.encode() + statement[end:].split(b"(", 1)[1]).decode()
            self._count(raw.query(sql, "Null"))
            return
        # Not send_insert: its insert_done keeps silent about whatever fails behind the parser (a constraint, a view,
        # too many parts, a full disk), and the rows are gone.
        file = quote(f"/proc/self/fd/{self.body.fileno()}")
        into, settings = split_settings(insert.statement)
        self._count(raw.query(f"{into} FROM INFILE {file} {settings} FORMAT {insert.format}", "Null"))

    def _count(self, result: Any) -> None:
        counted = self.summary
        written = result.rows_written()
        counted["written_rows"] += written
        counted["written_bytes"] += result.bytes_written()
        counted["read_rows"] += result.storage_rows_read() or written
        counted["read_bytes"] += result.storage_bytes_read() or result.bytes_written()
        if self.insert is None:
            self.rows += result.rows_read()
            counted["result_rows"] += result.rows_read()
            counted["result_bytes"] += result.size()

    def _empty_block(self) -> bytes:
        """Native for no rows: a server sends names and types all the same, chDB nothing, and they would be lost."""
        text = self.text
        if self._clause is not None:
            text = text[: self._clause[0]] + text[self._clause[1] :]
        sql = text.decode().strip().rstrip(";")
        raw = self.connection.raw
        if self.keyword in _SELECTS:
            described = raw.query(f"DESCRIBE TABLE (\n{sql}\n)", "JSONCompact", params=self.params).bytes()
            columns = [(row[0], row[1]) for row in json.loads(described)["data"]]
        elif self.keyword in _SHOWS:
            shown = raw.query(sql, "JSONCompact", params=self.params).bytes()
            columns = [(column["name"], column["type"]) for column in json.loads(shown)["meta"]]
        else:
            return b""
        words = [word.encode() for column in columns for word in column]
        return _varint(len(columns)) + b"\0" + b"".join(_varint(len(word)) + word for word in words)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
