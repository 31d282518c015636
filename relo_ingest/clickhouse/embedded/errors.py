"""What can go wrong: before serving (`StartError`), and per query (`QueryError`, ClickHouse's own wording).

The HTTP status of a ClickHouse error code follows `src/Server/HTTP/exceptionCodeToHTTPStatus.cpp`;
the numbers are those of the engine served here (`errorCodeToName`). Any code not listed is a 500 there too,
among them 202 TOO_MANY_SIMULTANEOUS_QUERIES, 164 READONLY and 373 SESSION_IS_LOCKED.
"""

from __future__ import annotations

import re

from relo_ingest.errors import ReloError


class StartError(ReloError):
    """The server cannot start; the message is one line that says what is wrong and how to mend it."""


class EngineMissing(StartError):
    """chDB is not installed."""


class DataDirectoryInUse(StartError):
    """Another process holds the data directory."""


class DataDirectoryUnusable(StartError):
    """The data directory cannot be created, written or opened by the engine."""


class AddressInUse(StartError):
    """The address cannot be listened on."""


_BAD_REQUEST = (
    6,
    8,
    15,
    25,
    26,
    27,
    36,
    37,
    38,
    41,
    44,
    53,
    62,
    72,
    117,
    123,
    167,
    168,
    223,
    321,
    376,
    427,
    441,
    675,
    676,
)
_NOT_FOUND = (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511)
HTTP_STATUS: dict[int, int] = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    194: 401,  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 497, 512, 516), 403),  # user, password, ACCESS_DENIED, role, AUTHENTICATION_FAILED
    **dict.fromkeys(_NOT_FOUND, 404),
    159: 408,  # TIMEOUT_EXCEEDED
    381: 411,  # HTTP_LENGTH_REQUIRED
    229: 413,  # QUERY_IS_TOO_LARGE
    779: 415,  # UNSUPPORTED_MEDIA_TYPE
    48: 501,  # NOT_IMPLEMENTED
    **dict.fromkeys((76, 209, 439), 503),  # CANNOT_OPEN_FILE, SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK
}

_CODE = re.compile(r"Code: (\d+)\. DB::\w*Exception: ")
_VERSION_TAIL = re.compile(r"\.?\s*\(version [^()]*(\([^()]*\))?\)\.?\s*$")
_NAME_TAIL = re.compile(r"\.?\s*\(([A-Z][A-Z0-9_]+)\)\.?\s*$")


class QueryError(Exception):
    """A failed query: ClickHouse's numeric code, its symbolic name, and the text between them."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text.strip().rstrip('.')}. ({name})")
        self.code = code

    @property
    def status(self) -> int:
        """HTTP status ClickHouse answers for this code."""
        return HTTP_STATUS.get(self.code, 500)

    def render(self, version: str) -> str:
        """The line ClickHouse sends: `Code: 47. DB::Exception: … (UNKNOWN_IDENTIFIER) (version 26.9…)`."""
        return f"{self} (version {version})"

    @classmethod
    def from_engine(cls, error: BaseException) -> QueryError:
        """Read code and name out of chDB's message, which repeats both once per layer that rethrew it."""
        text = str(error)
        first = _CODE.search(text)
        if first is None:
            return cls(1002, "UNKNOWN_EXCEPTION", text or type(error).__name__)
        text = text[first.start() :]
        while (again := _CODE.match(text)) is not None:
            first, text = again, text[again.end() :]
        name = "UNKNOWN_EXCEPTION"
        while True:
            if (tail := _VERSION_TAIL.search(text)) is not None:
                text = text[: tail.start()]
            elif (tail := _NAME_TAIL.search(text)) is not None:
                name, text = tail.group(1), text[: tail.start()]
            else:
                return cls(int(first.group(1)), name, text)
