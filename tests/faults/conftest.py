from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import processes_with
from support.stack import ClickHouse, Stack, kill


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


@pytest.fixture
def leaves_no_process(tmp_path: Path) -> Iterator[None]:
    """Whatever still runs in the test's directory is killed at its end: after a failure, that is the whole product."""
    yield
    kill(*processes_with(f"RELO_DATA_DIR={tmp_path}"))
