"""The memory-mapped batch: one file that is batch, crash journal, retry unit and insert body."""

import os
from types import TracebackType
from typing import Self, final

class SegmentDamaged(ValueError):
    """The header cannot be used: not a segment, cut inside the header, or its checksum is wrong."""

@final
class Segment:
    """Rows of one insert, in one file. Layout, commit and recovery: top of segment.pyx.

    Methods raise ValueError after ``close``; appending also after ``seal`` and to a recovered segment.
    """

    segment_id: str
    """ULID text; the insert token."""
    lane: str
    columns: str
    """The column list the rows were written in."""
    path: str

    @staticmethod
    def create(
        path: str | os.PathLike[str],
        *,
        segment_id: str,
        lane: str,
        schema_version: int,
        columns: str,
        capacity: int,
        max_rows: int,
        created_ms: int,
    ) -> Segment:
        """A new file (mode 0600), preallocated and mapped.

        ``capacity`` in bytes of rows (1 .. 2**32-1), ``max_rows`` 1 .. 2**31-1, each row 8 bytes of index.
        OSError: FileExistsError, ENOSPC, EFBIG …; then no file is left. ValueError for impossible sizes.
        On copy-on-write file systems (btrfs, ZFS) preallocation does not hold space: use ext4 or XFS.
        """

    @staticmethod
    def recover(path: str | os.PathLike[str]) -> Segment:
        """The longest prefix of rows whose checksums hold, read into memory; sealed.

        For a file left by a dead process, or sealed and to be sent again. The file is not changed.
        SegmentDamaged if the header cannot be used; OSError if the file cannot be read (EIO included).
        """

    @property
    def schema_version(self) -> int: ...
    @property
    def created_ms(self) -> int:
        """Unix milliseconds, as given to ``create``."""

    @property
    def rows(self) -> int:
        """Committed rows."""

    @property
    def lost_rows(self) -> int:
        """Rows that ``recover`` found committed but could not keep; 0 in a segment being written."""

    @property
    def body_bytes(self) -> int:
        """Bytes of the committed rows."""

    @property
    def capacity(self) -> int: ...
    @property
    def max_rows(self) -> int: ...
    @property
    def sealed(self) -> bool:
        """True when no more rows can be added."""

    @property
    def closed(self) -> bool: ...
    def body(self) -> memoryview:
        """The committed rows, read-only, without a copy: the insert body. Later rows are not in it.

        A view keeps the bytes alive, also after ``close``.
        """

    def body_range(self, first: int, last: int) -> memoryview:
        """Rows ``first`` .. ``last - 1``, as ``body``. IndexError unless 0 <= first <= last <= rows."""

    def row(self, i: int) -> bytes:
        """A copy of one row. IndexError unless 0 <= i < rows."""

    def append_raw(self, row: bytes) -> bool:
        """Commits the bytes of one encoded row. False, and nothing changed, when it does not fit."""

    def sync(self) -> None:
        """fdatasync with the GIL released: rows committed before the call survive a power failure.

        The first call also syncs the directory, so that the file's name survives too. Safe beside appending
        in another thread. OSError (EIO, …): nothing is known about what is on disk.
        """

    def seal(self) -> None:
        """No more rows. The file shrinks to what is used, and its memory becomes read-only. Idempotent."""

    def close(self) -> None:
        """Gives back the descriptor, and the memory when the last view of it is gone. Idempotent."""

    def fileno(self) -> int:
        """The descriptor, for flock(2)."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
