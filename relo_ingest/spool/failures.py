"""What a failed insert means for its segment.

Codes: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
"""

from __future__ import annotations

import enum

from clickhouse_connect.driver.exceptions import Error

BAD_DATA = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        306,  # TOO_DEEP_RECURSION
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
    }
)
"""ClickHouse refuses a row: the others must not wait for it."""

NEEDS_A_PERSON = frozenset(
    {
        8,  # THERE_IS_NO_COLUMN
        10,  # NOT_FOUND_COLUMN_IN_BLOCK
        16,  # NO_SUCH_COLUMN_IN_TABLE
        20,  # NUMBER_OF_COLUMNS_DOESNT_MATCH
        44,  # ILLEGAL_COLUMN
        47,  # UNKNOWN_IDENTIFIER
        53,  # TYPE_MISMATCH
        60,  # UNKNOWN_TABLE
        81,  # UNKNOWN_DATABASE
        115,  # UNKNOWN_SETTING
        192,  # UNKNOWN_USER
        193,  # WRONG_PASSWORD
        194,  # REQUIRED_PASSWORD
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
    }
)
"""The schema or the credentials are not what the segment needs: kept, reported, tried again at a slow pace."""


class Failure(enum.Enum):
    """``RETRY``: it passes (connection, time-out, too many parts, memory). ``BISECT``: a row is bad.
    ``PARK``: a migration or a person is needed."""

    RETRY = "retry"
    BISECT = "bisect"
    PARK = "park"


def classify(error: Exception) -> Failure:
    """A code that is in no list is retried: guessing that data is bad could throw good rows out of the way."""
    code = error.code if isinstance(error, Error) else None
    if code in BAD_DATA:
        return Failure.BISECT
    if code in NEEDS_A_PERSON:
        return Failure.PARK
    return Failure.RETRY
