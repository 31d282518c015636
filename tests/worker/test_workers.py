"""Workers that are killed, and workers that do not know of each other: the ledger is the oracle's all the same."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from relo_ingest.clickhouse import migrate
from relo_ingest.worker.loop import Worker
from support.processes import environment, eventually
from support.soak import scaled
from worker.smallest import story
from worker.stage import Line, Played, Stage, differences, lines_only_added

WORLDS = 60
BATCHES = 5


@pytest.fixture
def url(clickhouse: Any) -> str:
    """A database of the test's own, with the tables."""
    found: str = clickhouse.fresh_database()
    with contextlib.closing(clickhouse.connect(found)) as client:
        migrate.apply(client)
    return found


@pytest.fixture
def stage(clickhouse: Any, url: str) -> Iterator[Stage]:
    with contextlib.closing(clickhouse.connect(url)) as client:
        yield Stage(client)


def wrong(stage: Stage, played: Sequence[Played]) -> list[Played]:
    found = stage.answers(played)
    return [p for p in played if differences(p, found[p.world.client_id])]


class Competitor(threading.Thread):
    """A worker that holds no lease and makes one round after the other; the last begins after ``finish`` is called."""

    def __init__(self, client: Any) -> None:
        super().__init__(daemon=True)
        self._worker = Worker(client)
        self._last = threading.Event()
        self.rounds = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        last = False
        try:
            while not last:
                last = self._last.is_set()
                self._worker.round()
                self.rounds += 1
        except Exception as error:
            self.failure = error

    def finish(self) -> None:
        self._last.set()


@pytest.mark.timeout(scaled(600, 900))
def test_two_workers_without_a_lease_write_the_ledger_of_one(clickhouse: Any, url: str, stage: Stage) -> None:
    stage.client.command("SYSTEM STOP MERGES ledger_lines")  # so that lines that both wrote can be counted
    for act in range(scaled(2, 40)):
        played = [Played.shuffled(act * WORLDS + n, BATCHES) for n in range(WORLDS)]
        written: dict[str, Line] = {}
        with contextlib.closing(clickhouse.connect(url)) as one, contextlib.closing(clickhouse.connect(url)) as other:
            workers = [Competitor(one), Competitor(other)]
            for worker in workers:
                worker.start()
            for batch in range(BATCHES):
                stage.bring(played, batch)
                written = lines_only_added(written, stage.lines(played))
            for worker in workers:
                worker.finish()
            for worker in workers:
                worker.join()
            assert [worker.failure for worker in workers] == [None, None]
            lines_only_added(written, stage.lines(played))
            found = wrong(stage, played)
            assert found == [], "\n".join(story(stage, p) for p in found[:3])
    written_twice = stage.client.command("SELECT count() - uniqExact(client_id, entry_id) FROM ledger_lines")
    assert int(str(written_twice)) > 0, "the two never met"


@pytest.mark.timeout(scaled(600, 900))
def test_worker_killed_again_and_again_writes_the_ledger_of_one_that_lives(
    url: str, stage: Stage, tmp_path: Path
) -> None:
    chance = random.Random(3)
    acts = scaled(1, 20)
    played = [Played.shuffled(n, acts * BATCHES) for n in range(acts * WORLDS)]
    env = environment(RELO_DATA_DIR=tmp_path, RELO_CLICKHOUSE_URL=url, RELO_WORKER_INTERVAL_S=0.05)
    written: dict[str, Line] = {}
    log = (tmp_path / "worker.log").open("wb")

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "relo_ingest", "worker"], env=env, stdout=log, stderr=log)

    worker = start()
    try:
        for batch in range(acts * BATCHES):
            stage.bring(played, batch)
            time.sleep(chance.uniform(0.5, 2.5))  # it starts within a second; then it is somewhere in a round
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            written = lines_only_added(written, stage.lines(played))
            worker = start()
        try:
            eventually(lambda: not wrong(stage, played), "the ledger is the oracle's")
        except AssertionError:
            pytest.fail("\n".join(story(stage, p) for p in wrong(stage, played)[:3]))
        lines_only_added(written, stage.lines(played))
    finally:
        worker.kill()
        worker.wait()
        log.close()
