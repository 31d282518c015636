"""Looking up a few headers of a request in one pass over them."""

from collections.abc import Iterable

class Picker:
    """Picks the headers it was made for."""

    def __init__(self, *names: bytes) -> None:
        """Up to 16 names, in lower case as ASGI has them. ValueError for other names."""

    def pick(self, headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """The first value of each name, in the order of the names; ``b""`` for one that is not there."""
