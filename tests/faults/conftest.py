from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stack import ClickHouse, Stack


@pytest.fixture(scope="session")
def shared_clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """For tests that leave ClickHouse itself alone; each has a database of its own."""
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    yield server
    server.stop()


@pytest.fixture
def stack(tmp_path: Path, shared_clickhouse: ClickHouse) -> Iterator[Stack]:
    running = Stack(tmp_path, shared_clickhouse)
    yield running
    running.close()
