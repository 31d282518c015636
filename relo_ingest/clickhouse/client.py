"""Clients of ClickHouse, embedded or not: one place that knows how they are made and how they fail."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from relo_ingest.errors import ReloError
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient
    from clickhouse_connect.driver.client import Client

_WRAPPING = re.compile(r"^Received ClickHouse exception, code: \d+, server response: ")
_CREDENTIALS_REFUSED = re.compile(r"\b(AUTHENTICATION_FAILED|REQUIRED_PASSWORD)\b|\b[Cc]ode: (516|194)\b")

# The library sets this level when it is imported. What fails is told once, by us.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

TEXT_STAYS_TEXT: dict[str, Any] = {
    # Into a JSON column: "2025-06-01T12:00:00.5Z" would become a DateTime and come back as other text, cut to seconds.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
}
INSERT_SETTINGS: dict[str, Any] = {
    # The batches are ours; a server-side one would answer before the rows are safe, or later than we want.
    "async_insert": 0,
    # A retried segment must vanish from the views as well (DESIGN §6).
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "input_format_binary_read_json_as_string": 1,
    # Senders name keys as they like; the first of two equal paths is kept instead of the row being refused.
    "type_json_skip_duplicated_paths": 1,
    # Late and replayed payments may reach back over many months, each a partition.
    "max_partitions_per_insert_block": 0,
    **TEXT_STAYS_TEXT,
}


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "dsn": settings.clickhouse_dsn,
        "send_receive_timeout": settings.clickhouse.timeout_s,
        "connect_timeout": min(5.0, settings.clickhouse.timeout_s),
        # On loopback compression only costs; across a network it is worth its CPU.
        "compress": False if settings.embedded else "lz4",
        "query_retries": 0,  # whoever calls decides what to try again
        # A client may serve several threads and tasks at once, which a session would forbid.
        "autogenerate_session_id": False,
    }


def connect(settings: Settings) -> Client:
    """A synchronous client. Raises ClickHouseUnavailable when nothing answers."""
    try:
        options = _options(settings)
        return clickhouse_connect.get_client(
            **options
            | {
                "connect_timeout": int(options["connect_timeout"]) or 1,
                "send_receive_timeout": int(options["send_receive_timeout"]) or 1,
            }
        )
    except (ClickHouseError, OSError) as error:
        raise unavailable(settings, error) from None


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[Client]:
    """A client for one command of an operator: it is closed afterwards, and errors are theirs to read.

    Raises ClickHouseUnavailable and StatementRefused.
    """
    client = connect(settings)
    try:
        yield client
    except ClickHouseError as error:
        hint = "; run `relo migrate`" if "UNKNOWN_TABLE" in str(error) else ""
        raise StatementRefused(f"{first_line(error)}{hint}") from None
    finally:
        client.close()


async def connect_async(settings: Settings) -> AsyncClient:
    """An asynchronous client of the running loop. Raises ClickHouseUnavailable when nothing answers."""
    try:
        return await clickhouse_connect.get_async_client(**_options(settings))
    except (ClickHouseError, OSError) as error:
        raise unavailable(settings, error) from None


class ClickHouseUnavailable(ReloError):
    """ClickHouse cannot be reached, or refuses the credentials."""


class StatementRefused(ReloError):
    """ClickHouse refused a statement, or went away while it ran."""


def unavailable(settings: Settings, error: Exception) -> ClickHouseUnavailable:
    where = settings.clickhouse_dsn.rpartition("@")[2].removeprefix("http://").removeprefix("https://")
    text = str(error)
    if _CREDENTIALS_REFUSED.search(text):
        return ClickHouseUnavailable(f"ClickHouse at {where} refuses the user or password; check RELO_CLICKHOUSE_URL")
    what = "does not answer" if isinstance(error, OperationalError | OSError) else first_line(error)
    hint = "start it with `relo up` or `relo clickhouse`" if settings.embedded else "check RELO_CLICKHOUSE_URL"
    return ClickHouseUnavailable(f"ClickHouse at {where} {what}; {hint}")


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of a message, short enough for a log."""
    return _WRAPPING.sub("", (str(error).strip().splitlines() or [type(error).__name__])[0])[:limit]
