"""``relo query``: one statement, answered as a table, CSV or JSON. ClickHouse itself does the formatting."""

from __future__ import annotations

import sys

from clickhouse_connect.driver.exceptions import ClickHouseError

from relo_ingest.clickhouse.client import connect, first_line
from relo_ingest.errors import ReloError
from relo_ingest.settings import Settings

FORMATS = {"table": "PrettyCompactMonoBlock", "csv": "CSVWithNames", "json": "JSON"}

LONGEST_MESSAGE = 2000
"""ClickHouse names the whole scope of a query that it does not understand."""


class QueryFailed(ReloError):
    """ClickHouse refused the statement."""


def print_answer(settings: Settings, sql: str, style: str) -> None:
    """``style``: a key of FORMATS. Raises QueryFailed with ClickHouse's message."""
    client = connect(settings)
    try:
        answer = client.raw_query(
            sql.strip().rstrip(";"),
            fmt=FORMATS[style],
            settings={
                "output_format_pretty_row_numbers": 0,
                "output_format_pretty_color": 0,
                "output_format_pretty_max_rows": 100_000,
            },
        )
    except ClickHouseError as error:
        raise QueryFailed(first_line(error, LONGEST_MESSAGE)) from None
    finally:
        client.close()
    sys.stdout.write(answer.decode("utf-8", "replace"))
