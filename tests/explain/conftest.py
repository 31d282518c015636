"""The worker's stories, asked why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relo_ingest.explain import facts, find
from relo_ingest.explain import story as telling
from tests.worker.conftest import Story, engine, story, worker

__all__ = ["engine", "story", "worker"]

Why = Callable[[str], str]


@pytest.fixture
def why(story: Story) -> Why:
    """The story of the one payment that an id means, after the worker has settled everything; without indents."""

    def ask(name: str) -> str:
        story.settle()
        (found,) = find.payments(story.client, name, story.slug)
        lines = telling.tell(facts.gather(story.client, found.client_id, found.conversion_key), found.slug)
        return "\n".join(line.strip() for line in lines)

    return ask
