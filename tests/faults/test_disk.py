"""A disk that becomes full, and has room again: refused and not lost, no SIGBUS, no restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from faults.station import Station, messages, metric
from relo_ingest._fast import ulid
from support.processes import Server, eventually, processes_with
from support.stripe_events import checkout_completed, signed

DISK_BYTES = 24 << 20
SEGMENT_BYTES = 1 << 20
PAYMENTS_SEGMENT_BYTES = 4 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def station(tmp_path: Path, disk: Path, clickhouse: Any) -> Iterator[Station]:
    own = Station(tmp_path, clickhouse, data_dir=disk / "data")
    yield own
    own.close()


def room(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill_up(disk: Path, leave: int) -> Path:
    """Another program's file that takes all but ``leave`` bytes."""
    path = disk / "somebody else's"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room(disk) - leave)
    return path


def send(server: Server, filler: int = 50_000) -> tuple[httpx.Response, str]:
    event_id = ulid.new()
    beacon = {"client_id": 1, "event_id": event_id, "props": {"filler": "x" * filler}}
    return server.http.post("/e", json=beacon), event_id


def send_until_refused(server: Server, most: int) -> set[str]:
    """Ids of what was acknowledged before the first 503."""
    accepted: set[str] = set()
    while True:
        response, event_id = send(server)
        if response.status_code == 503:
            assert_full(response)
            return accepted
        assert response.status_code == 204, response.text
        accepted.add(event_id)
        assert len(accepted) < most, "the disk never becomes full"


def assert_full(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.json()["error"]["code"] == "spool_full"
    assert int(response.headers["retry-after"]) > 0


def pids(server: Server) -> set[int]:
    return set(processes_with(f"RELO_INGEST_PORT={server.port}\0"))


def assert_unharmed(server: Server, before: set[int]) -> None:
    assert server.process.poll() is None
    assert pids(server) == before, "a process was replaced"
    assert "Traceback" not in server.log.read_text()


def test_no_space_left_is_answered_503_and_nothing_acknowledged_is_lost(station: Station, disk: Path) -> None:
    """The hard case: no floor, and another program takes the last blocks while a segment is being written."""
    server = station.ingest(
        away=True, spool_segment_bytes=SEGMENT_BYTES, spool_disk_floor_bytes=0, spool_max_age_ms=60_000
    )
    before = pids(server)
    response, first = send(server)
    assert response.status_code == 204
    filler = fill_up(disk, leave=0)
    # The open segment has its space: it takes what it promised, to its last page.
    accepted = {first} | send_until_refused(server, most=60)
    assert len(accepted) > 15
    for _ in range(50):
        assert_full(send(server)[0])
    refused = server.http.post("/postback/stripe/demo", **signed(checkout_completed()))
    assert_full(refused)
    assert_full(server.http.get("/r?ref=ana"))
    assert server.http.get("/health/live").status_code == 200
    assert server.http.get("/health/ready").status_code == 503
    assert server.http.get("/metrics").status_code == 200

    # Room for the rows of a segment, but not for its header and index as well: the kernel says ENOSPC.
    filler.unlink()
    filler = fill_up(disk, leave=SEGMENT_BYTES + 4096)
    assert_full(send(server)[0])
    assert any("No space left" in m for m in messages(server))
    assert not list((station.data_dir / "spool").rglob("*.open")), "a segment that could not be made left its file"
    assert_unharmed(server, before)

    filler.unlink()
    response, event_id = send(server)
    assert response.status_code == 204
    event = checkout_completed()
    assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    assert server.http.get("/health/ready").status_code == 200
    assert_unharmed(server, before)
    accepted |= {event_id, event["id"]}
    station.kill(server)
    station.ingest(spool_segment_bytes=SEGMENT_BYTES, spool_disk_floor_bytes=0)
    eventually(lambda: station.landed() == sorted(accepted), "what was acknowledged is there once")


def test_an_ingest_killed_on_a_full_disk_starts_there_and_drains_it(station: Station, disk: Path) -> None:
    """Nothing that it needs to start and to flush takes space that is not there."""
    server = station.ingest(
        away=True, spool_segment_bytes=SEGMENT_BYTES, spool_disk_floor_bytes=0, spool_max_age_ms=60_000
    )
    event = checkout_completed()
    assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    accepted = send_until_refused(server, most=1000) | {event["id"]}
    station.kill(server)
    filler = fill_up(disk, leave=4096)
    again = station.ingest(spool_segment_bytes=SEGMENT_BYTES, spool_disk_floor_bytes=0)
    eventually(lambda: station.landed() == sorted(accepted), "the full disk is drained")
    eventually(lambda: send(again)[0].status_code == 204, "what was drained is room again")
    filler.unlink()
    assert again.stop() == 0


def test_below_the_floor_is_503_until_there_is_room(station: Station, disk: Path) -> None:
    """The soft case: the rest of the disk belongs to the engine and the logs, and ClickHouse is there all the time."""
    floor = 8 << 20
    server = station.ingest(spool_segment_bytes=SEGMENT_BYTES, spool_disk_floor_bytes=floor, spool_max_age_ms=100)
    before = pids(server)
    response, first = send(server)
    assert response.status_code == 204
    eventually(lambda: station.landed() == [first], "the first is flushed")
    eventually(lambda: station.segments() == [], "its file is gone")  # or it makes room later
    filler = fill_up(disk, leave=floor + SEGMENT_BYTES - 4096)
    assert_full(send(server)[0])
    assert_full(server.http.post("/postback/stripe/demo", **signed(checkout_completed())))
    unready = server.http.get("/health/ready")
    assert (unready.status_code, unready.json()["status"]) == (503, "unready")
    assert room(disk) > floor
    filler.unlink()
    response, second = send(server)
    assert response.status_code == 204
    assert server.http.get("/health/ready").status_code == 200
    eventually(lambda: station.landed() == sorted([first, second]), "the second is flushed")
    assert metric(server, "relo_rows_lost_total") == 0
    assert_unharmed(server, before)
    assert server.stop() == 0
