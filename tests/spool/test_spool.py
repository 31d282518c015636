"""The spool's own rules: what is left, what is lost by others' hands, and that nothing of it stops the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from relo_ingest._fast import ulid
from relo_ingest._fast.segment import Segment
from relo_ingest.errors import RequestRefused
from relo_ingest.events import Event
from relo_ingest.settings import ClickHouse, Settings
from relo_ingest.settings import Spool as SpoolSettings
from relo_ingest.spool.directory import OwnedDirectory, adopt_orphans, usage
from relo_ingest.spool.lane import Lane, LaneRules
from relo_ingest.spool.spool import Spool

NOW = 1_700_000_000_000
AWAY = ClickHouse(url="http://127.0.0.1:9/nothing")


def event(**changed: object) -> Event:
    return Event(ulid.new(), 1, NOW, NOW, "page", "page", "pixel", "pixel", **changed)  # type: ignore[arg-type]


def lane_in(directory: Path, sealed: list[Path], *, rows: int = 100, room: Callable[[int], bool] | None = None) -> Lane:
    rules = LaneRules("beacons", False, 1 << 20, rows, 1000)
    return Lane(rules, directory, sealed.append, room or (lambda _: True))


def rows_of(path: Path) -> int:
    with Segment.recover(path) as segment:
        return segment.rows


# Directories


def test_a_directory_belongs_to_one_process_until_it_is_released(tmp_path: Path) -> None:
    own = OwnedDirectory.create(tmp_path)
    (own.path / f"beacons-{ulid.new()}.sealed").write_bytes(b"x")
    assert list(adopt_orphans(tmp_path)) == []
    own.release()
    [adopted] = adopt_orphans(tmp_path)
    assert adopted.path == own.path
    assert list(adopt_orphans(tmp_path)) == []
    adopted.segments()[0].unlink()
    adopted.release()
    assert list(tmp_path.iterdir()) == []


def test_segments_are_adopted_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    own = OwnedDirectory.create(tmp_path)
    ids = [ulid.new() for _ in range(5)]
    for number, segment_id in enumerate(reversed(ids)):
        lane = "payments" if number % 2 else "beacons"
        (own.path / f"{lane}-{segment_id}{'.open' if number == 0 else '.sealed'}").write_bytes(b"")
    (own.path / "readme.txt").write_bytes(b"")
    (own.path / f"beacons-{ulid.new()}.damaged").write_bytes(b"")
    assert [p.stem.rpartition("-")[2] for p in own.segments()] == ids
    own.release()


def test_usage_counts_what_is_there_and_stumbles_over_nothing(tmp_path: Path) -> None:
    assert usage(tmp_path / "nowhere") == (0, 0.0)
    own = OwnedDirectory.create(tmp_path)
    old = ulid.new_at(NOW)
    (own.path / f"beacons-{old}.sealed").write_bytes(bytes(1000))
    (own.path / f"payments-{ulid.new()}.open").write_bytes(bytes(500))
    (own.path / "backup of monday.sealed").write_bytes(bytes(70))
    (own.path / "gone.sealed").symlink_to("nowhere")
    (tmp_path / "stray.sealed").write_bytes(bytes(7))
    assert usage(tmp_path) == (1570, NOW / 1000)
    own.release()


# Lanes


def test_a_full_segment_is_sealed_and_the_next_is_opened(tmp_path: Path) -> None:
    sealed: list[Path] = []
    lane = lane_in(tmp_path, sealed)
    for _ in range(250):
        lane.append(event())
    assert [rows_of(p) for p in sealed] == [100, 100]
    lane.seal()
    assert [rows_of(p) for p in sealed] == [100, 100, 50]
    assert all(p.suffix == ".sealed" for p in sealed)


def test_age_seals_only_what_has_rows(tmp_path: Path) -> None:
    sealed: list[Path] = []
    lane = lane_in(tmp_path, sealed)
    lane.seal_if_old(1e12)
    lane.append(event())
    lane.seal_if_old(0.0)
    assert sealed == []
    lane.seal_if_old(1e12)
    assert [rows_of(p) for p in sealed] == [1]


def test_without_room_it_is_refused_and_goes_on_when_there_is_some(tmp_path: Path) -> None:
    sealed: list[Path] = []
    room = True
    lane = lane_in(tmp_path, sealed, room=lambda _: room)
    for _ in range(100):
        lane.append(event())
    room = False
    for _ in range(3):
        with pytest.raises(RequestRefused) as refused:
            lane.append(event())
        assert refused.value.problem.code == "spool_full"
    assert [rows_of(p) for p in sealed] == [100]
    room = True
    lane.append(event())
    lane.seal()
    assert [rows_of(p) for p in sealed] == [100, 1]


def test_a_row_larger_than_a_segment_is_refused_and_harms_no_other(tmp_path: Path) -> None:
    sealed: list[Path] = []
    lane = lane_in(tmp_path, sealed)
    lane.append(event())
    with pytest.raises(RequestRefused) as refused:
        lane.append(event(properties=b'{"a":"' + b"x" * (1 << 20) + b'"}'))
    assert refused.value.problem.code == "body_too_large"
    lane.append(event())
    lane.seal()
    assert sum(rows_of(p) for p in sealed) == 2


def test_a_segment_that_somebody_removed_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its rows are gone by that hand; the next beacon is no error, and the next segment lands."""
    sealed: list[Path] = []
    lane = lane_in(tmp_path, sealed)
    lane.append(event())
    [path] = tmp_path.glob("*.open")
    path.unlink()
    with caplog.at_level(logging.ERROR):
        lane.seal()
    assert "keeps its name" in caplog.text
    lane.append(event())
    lane.seal()
    assert [p.exists() for p in sealed] == [False, True]
    assert rows_of(sealed[1]) == 1


# The whole


def test_whatever_lies_in_the_directory_age_goes_on_sealing(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), clickhouse=AWAY, spool=SpoolSettings(max_age_ms=10))

    async def story() -> None:
        spool = Spool(settings)
        spool.start()
        [own] = (p for p in (tmp_path / "spool").iterdir() if not p.name.startswith("."))
        (own / "backup of monday.sealed").write_bytes(b"")
        spool._look_around()
        spool.append(event())
        for _ in range(200):
            await asyncio.sleep(0.02)
            if list(own.glob("beacons-*.sealed")):
                break
        else:
            raise AssertionError("the segment was never sealed")
        await spool.stop(0.01)

    asyncio.run(story())


def test_what_was_not_flushed_stays_for_the_next(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), clickhouse=AWAY)

    async def one() -> str:
        spool = Spool(settings)
        spool.start()
        kept = event()
        spool.append(kept)
        await spool.append_durably(event())
        await spool.stop(0.01)
        return kept.event_id

    event_id = asyncio.run(one())
    paths = sorted((tmp_path / "spool").rglob("*.sealed"))
    assert [p.name.partition("-")[0] for p in paths] == ["beacons", "payments"]
    with Segment.recover(paths[0]) as segment:
        assert event_id.encode() in segment.row(0)
    [orphan] = adopt_orphans(tmp_path / "spool")
    assert len(orphan.segments()) == 2
    orphan.release()
