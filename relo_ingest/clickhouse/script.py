"""SQL files with several statements."""

from __future__ import annotations

import re
from collections.abc import Iterator


def statements(text: str) -> Iterator[str]:
    """The statements, without comments; a statement ends with ``;`` at the end of a line."""
    bare = re.sub(r"^\s*--.*$", "", text, flags=re.MULTILINE)
    for statement in re.split(r";[ \t]*(?:\n|\Z)", bare):
        if statement.strip():
            yield statement.strip()
