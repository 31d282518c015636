"""Whether JSON text can be stored as it came.

ClickHouse's JSON column refuses some texts that JSON parsers let through, and one refused row fails a whole insert;
worse, values nested deeper than its parser goes are taken, and break merges later. Both were seen on ClickHouse 26.9.
"""

from typing import Final

MAX_DEPTH: Final = 32
"""Objects and arrays within each other, the outermost included. ClickHouse's merges fail beyond some hundreds."""

def is_plain(text: bytes) -> bool:
    """False for JSON that ClickHouse may refuse or choke on, one pass over the bytes:

    - nested deeper than MAX_DEPTH;
    - a string with a lone surrogate (``\\ud800``), an unknown escape, a raw control character or invalid UTF-8;
    - a number with a fraction or exponent that a double may not hold (longer than 40 characters, or an exponent of
      three digits or more); NaN and Infinity.

    The text must be JSON otherwise: what a parser has already looked over.
    """
