"""Events as RowBinary rows, written straight into the open segment."""

from typing import Final

from relo_ingest._fast.segment import Segment
from relo_ingest.events import Event

MARKS_KEY: Final = "_relo_marks"
"""The key in ``properties`` that lists changes: ``["url:cut", "title:replaced", "event_time:clamped"]``."""

class RowTooLarge(ValueError):
    """The row would not even fit into an empty segment."""

def append(segment: Segment, event: Event) -> int:
    """Encodes the event into the segment and commits it; how many rows the segment has now. 0, and nothing changed,
    when it does not fit: seal the segment and open another.

    Each column by its kind (``relo_ingest.events.Column``), in RowBinary
    (https://clickhouse.com/docs/interfaces/formats/RowBinary):

    - ``text``, ``texts``: UTF-8; a lone surrogate becomes U+FFFD (mark ``replaced``); what is longer than
      ``max_bytes`` is cut before the character that passes it (mark ``cut``);
    - ``ms``: Int64, clamped to what DateTime64(3) holds, 1900-01-01 .. 2299-12-31 (mark ``clamped``);
    - ``u32``; ``bool``: 0 or 1; ``decimal4``: Int64 within ±(10**18 - 1);
    - ``json``: the text of one object, without white space around it.

    Marks become the first key of ``properties``, and replace a key of that name that was there. Without marks
    ``properties`` is written as it is: its content is not looked at.

    Raises RowTooLarge; with the column's name: TypeError (another type; a bool is no int), OverflowError
    (u32, decimal4), ValueError (``properties`` is no object). Then nothing is committed. Also ValueError
    when the segment is sealed or closed.
    """

def encode(event: Event) -> bytes:
    """The bytes of the row that ``append`` would commit."""
