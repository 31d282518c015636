"""Looking up a few headers of a request in one pass over them."""

from collections.abc import Iterable
from typing import Any

class Picker:
    """Picks the headers it was made for."""

    def __init__(self, *names: bytes, group: Iterable[bytes] = ()) -> None:
        """Up to 16 names, in lower case as ASGI has them. ValueError for other names."""

    def pick(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Any, ...]:
        """The first value that is not empty of each name, in the order of the names; ``b""`` for one that is not there.

        The values of ``group``, if there is one, come last, in a tuple of their own: something to look up by.
        """
