"""Where segments lie: ``{data_dir}/spool/{owner}/{lane}-{segment id}.{open|sealed}``.

A process owns one directory and holds the lock of its ``lock`` file as long as it lives: the kernel drops the
lock with the process, however it ends. A directory whose lock is free belongs to a dead process, and whoever
takes the lock adopts it with all its segments. So any number of processes share one data directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from relo_ingest._fast import ulid

LOCK_FILE = "lock"
OPEN, SEALED = ".open", ".sealed"
BEING_MADE = ".new-"


class OwnedDirectory:
    """A spool directory whose lock this process holds."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def create(cls, root: Path) -> OwnedDirectory:
        """A new, locked directory. It takes its final name only once it is locked, so nobody adopts it at birth."""
        root.mkdir(parents=True, exist_ok=True)
        owner = ulid.new()
        draft = root / f"{BEING_MADE}{owner}"
        draft.mkdir()
        fd = os.open(draft / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(fd, str(os.getpid()).encode())
        draft.rename(root / owner)
        sync_directory(root)
        return cls(root / owner, fd)

    def segments(self) -> list[Path]:
        """Its segment files, oldest first (segment ids are ULIDs)."""
        files = (p for p in self.path.iterdir() if p.suffix in (OPEN, SEALED))
        return sorted(files, key=lambda p: p.stem.rpartition("-")[2])

    def release(self) -> None:
        """Give it up; removed when no segment is left in it, else free for adoption."""
        if not self.segments():
            (self.path / LOCK_FILE).unlink(missing_ok=True)
            try:
                self.path.rmdir()
            except OSError:
                pass  # something that is not ours lies in it: leave it for a person
        os.close(self._lock_fd)


def adopt_orphans(root: Path) -> Iterator[OwnedDirectory]:
    """Lock and yield each directory whose owner is dead."""
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.startswith(BEING_MADE):
            _remove_stillborn(path)
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # being removed by its owner, or not a spool directory
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have removed it between our open and our lock.
            alive = os.fstat(fd).st_nlink > 0
        except OSError:
            alive = False
        if alive:
            yield OwnedDirectory(path, fd)
        else:
            os.close(fd)


def _remove_stillborn(path: Path) -> None:
    """What a process left that died while it made its directory, a minute ago or earlier: it never held a segment."""
    with contextlib.suppress(OSError, ValueError):
        if time.time() * 1000 - ulid.timestamp_ms(path.name.removeprefix(BEING_MADE)) > 60_000:
            (path / LOCK_FILE).unlink(missing_ok=True)
            path.rmdir()


def usage(root: Path) -> tuple[int, float]:
    """What the segments of all processes take: bytes, and when the oldest was made (Unix s; 0.0 without any)."""
    total, oldest = 0, 0.0
    for owner in root.iterdir() if root.is_dir() else ():
        for path in _segments_of(owner):
            try:
                total += path.stat().st_size
                made_at = ulid.timestamp_ms(path.stem.rpartition("-")[2]) / 1000
            except (OSError, ValueError):
                continue  # flushed while we looked; or not of our making, so nobody knows its age
            oldest = min(oldest or made_at, made_at)
    return total, oldest


def _segments_of(owner: Path) -> list[Path]:
    try:
        return [path for path in owner.iterdir() if path.suffix in (OPEN, SEALED)]
    except OSError:
        return []  # adopted or removed while we looked, or not a directory


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
