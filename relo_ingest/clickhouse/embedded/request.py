"""A request taken apart: who asks, for what, with which settings, and its body as statement and data."""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .compression import Decoder
from .errors import QueryError
from .query import External
from .spool import Spool
from .statements import Insert, is_setting_name, parse_insert

Receive = Callable[[], Awaitable[dict[str, Any]]]

# Of the HTTP interface, not settings of the engine (`HTTPHandler.cpp`).
_RESERVED = frozenset(
    [
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "query_id",
        "stacktrace",
        "role",
        "buffer_size",
        "wait_end_of_query",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "client_protocol_version",
        "compress",
        "decompress",
    ]
)
_STATEMENT_WITHIN = 256 << 10  # bytes (ClickHouse's max_query_size) in which an INSERT's data must begin
_TEXT_LIMIT = 64 << 20  # bytes of a body that is all text, or a form
_NATIVE_REVISION = 54405  # newer ones change Native in ways chDB's does not have; clickhouse-connect probes this one


class ClientGone(Exception):
    """The client went away; there is nobody to answer."""


@dataclass(slots=True)
class Request:
    """Head of a request, and after `read_body` its statement and data."""

    method: str
    path: str
    headers: dict[str, str]
    params: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)
    query_params: dict[str, str] = field(default_factory=dict)
    externals: list[External] = field(default_factory=list)
    text: bytes = b""
    insert: Insert | None = None
    complete: bool = False  # whether the body was read to its end

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Request:
        """From an ASGI scope; a parameter given twice counts once, as the first."""
        headers = {name.decode("latin-1").lower(): value.decode(errors="replace") for name, value in scope["headers"]}
        params: dict[str, str] = {}
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            params.setdefault(name, value)
        return cls(scope["method"], scope["path"], headers, params)

    def flag(self, name: str) -> bool:
        """A boolean URL parameter."""
        return self.params.get(name, "").lower() in ("1", "true")

    @property
    def database(self) -> str | None:
        return self.headers.get("x-clickhouse-database") or self.params.get("database") or None

    @property
    def default_format(self) -> str:
        return self.headers.get("x-clickhouse-format") or self.params.get("default_format") or "TabSeparated"

    def authenticate(self, user: str, password: str) -> None:
        """Raises QueryError 516 for wrong credentials, or for a page of another origin in a browser.

        The engine here may read and write files, and listens where every page of a local browser can send to.
        """
        origin, host = self.headers.get("origin"), self.headers.get("host", "")
        foreign = origin is not None and urlsplit(origin).netloc != host
        if foreign or self.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise QueryError(516, "AUTHENTICATION_FAILED", "Requests from web pages of another origin are not allowed")
        sources: list[tuple[str | None, str | None]] = []
        if "x-clickhouse-user" in self.headers or "x-clickhouse-key" in self.headers:
            sources.append((self.headers.get("x-clickhouse-user"), self.headers.get("x-clickhouse-key")))
        if (authorization := self.headers.get("authorization")) is not None:
            scheme, _, token = authorization.partition(" ")
            try:
                name, colon, secret = b64decode(token.strip(), validate=True).decode().partition(":")
            except ValueError:
                colon = ""
            if scheme.lower() != "basic" or not colon:
                raise QueryError(516, "AUTHENTICATION_FAILED", "Invalid authentication: expected HTTP Basic")
            sources.append((name, secret))
        if "user" in self.params or "password" in self.params:
            sources.append((self.params.get("user"), self.params.get("password")))
        if len(sources) > 1:
            raise QueryError(
                516,
                "AUTHENTICATION_FAILED",
                "Invalid authentication: it is not allowed to mix several ways to log in",
            )
        given = sources[0] if sources else (None, None)
        who = given[0] or "default"
        # Both are compared always, and in constant time.
        right = hmac.compare_digest(who.encode(), user.encode())
        right &= hmac.compare_digest((given[1] or "").encode(), password.encode())
        if not right:
            text = f"{who}: Authentication failed: password is incorrect, or there is no user with such name"
            raise QueryError(516, "AUTHENTICATION_FAILED", text)

    def interpret(self) -> None:
        """Sort the parameters into settings and query parameters; raises QueryError (115, 48, 36)."""
        multipart = self.headers.get("content-type", "").startswith("multipart/form-data")
        for name, value in self.params.items():
            if not name or name in _RESERVED or (multipart and name.endswith(("_format", "_types", "_structure"))):
                continue
            if name.startswith("param_"):
                self._add_query_param(name, value)
            elif is_setting_name(name):
                self.settings[name] = value
            else:
                raise QueryError(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
        if self.flag("compress") or self.flag("decompress"):
            raise QueryError(
                48,
                "NOT_IMPLEMENTED",
                "ClickHouse's own block compression (compress=1, decompress=1) is not supported by the embedded"
                " engine; use Accept-Encoding and Content-Encoding, or set compress=0 in the client",
            )
        revision = self.params.get("client_protocol_version", "0")
        if not revision.isdecimal() or int(revision) > _NATIVE_REVISION:
            raise QueryError(
                48,
                "NOT_IMPLEMENTED",
                f"client_protocol_version {revision} is not supported by the embedded engine",
            )
        if self.method in ("GET", "HEAD") and self.settings.get("readonly", "0") == "0":
            self.settings["readonly"] = "2"

    def _add_query_param(self, name: str, value: str) -> None:
        name = name.removeprefix("param_")
        if not is_setting_name(name):
            raise QueryError(36, "BAD_ARGUMENTS", f"'{name}' is not a name for a query parameter")
        self.query_params.setdefault(name, value)

    async def read_body(self, receive: Receive, spool: Spool) -> None:
        """Take in the whole body: `text` and `insert` are set, the rows of an insert are in `spool`.

        Raises ClientGone when it does not arrive to its end, QueryError for what cannot be understood.
        """
        multipart = self.headers.get("content-type", "").startswith("multipart/form-data")
        query = self.params.get("query", "").encode()
        head = query + b"\n" if query and not multipart else b""
        decoder = Decoder(encoding) if (encoding := self._content_encoding()) else None
        loop = asyncio.get_running_loop()
        looked, more = multipart, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            self.complete = not more
            data = message.get("body") or b""
            if decoder is not None:
                data = decoder.feed(data)
            if self.insert is not None:
                if spool.add(data):
                    await loop.run_in_executor(None, spool.spill)
                continue
            head = head + data if head else data
            if not looked and (len(head) >= _STATEMENT_WITHIN or not more):
                looked = True
                self.insert = parse_insert(head)
                if self.insert is not None:
                    spool.add(head[self.insert.data_at :])
            if self.insert is None and len(head) > _TEXT_LIMIT:
                raise QueryError(229, "QUERY_IS_TOO_LARGE", f"The query is larger than {_TEXT_LIMIT} bytes")
        if decoder is not None:
            decoder.finish()
        self.text = self._read_form(head) if multipart else head

    def _content_encoding(self) -> str:
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    def _read_form(self, body: bytes) -> bytes:
        """multipart/form-data: the fields `query` and `param_*`, and files as external tables."""
        _, _, boundary = self.headers["content-type"].partition("boundary=")
        boundary = boundary.split(";")[0].strip().strip('"')
        text = self.params.get("query", "").encode()
        for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1"))[1:]:
            if part.startswith(b"--"):
                break
            head, _, data = part.partition(b"\r\n\r\n")
            attributes = _disposition(head.decode("utf-8", "replace"))
            name = attributes.get("name", "")
            if "filename" in attributes:
                self.externals.append(self._external(name, data))
            elif name == "query":
                text += data
            elif name.startswith("param_"):
                self._add_query_param(name, data.decode())
        return text

    def _external(self, name: str, data: bytes) -> External:
        structure = self.params.get(f"{name}_structure")
        if structure is None and (types := self.params.get(f"{name}_types")):
            structure = ", ".join(f"_{i} {kind}" for i, kind in enumerate(types.split(","), 1))
        if structure is None:
            raise QueryError(36, "BAD_ARGUMENTS", f"Neither structure nor types are given for external table {name}")
        return External(name, structure, self.params.get(f"{name}_format", "TabSeparated"), data)


def _disposition(head: str) -> dict[str, str]:
    for line in head.splitlines():
        if line.lower().startswith("content-disposition:"):
            items = (item.strip().partition("=") for item in line.split(";")[1:])
            return {name.lower(): value.strip('"') for name, _, value in items}
    return {}
