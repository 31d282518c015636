"""``relo spool``: the segments on disk and the quarantine, for people. Nothing here disturbs a running process."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from clickhouse_connect.driver.exceptions import ClickHouseError

from relo_ingest._fast.segment import Segment, SegmentDamaged
from relo_ingest.errors import ReloError
from relo_ingest.events import COLUMNS, SCALE
from relo_ingest.settings import Settings
from relo_ingest.spool.directory import OPEN, SEALED, OwnedDirectory, adopt_orphans
from relo_ingest.spool.flusher import DAMAGED, describe
from relo_ingest.spool.insert import Inserter
from relo_ingest.spool.quarantine import Quarantine

KINDS = {c.name: c.kind for c in COLUMNS}


class NotThere(ReloError):
    """No segment or quarantined row has this name."""


class NotReplayed(ReloError):
    """It could not be sent; it is kept."""


class Inspector:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.data_path / "spool"
        self._quarantine = Quarantine(settings.data_path / "quarantine")

    def segments(self) -> Iterator[str]:
        """A line per segment: id, lane, state, rows, bytes, age, owner."""
        now = dt.datetime.now(dt.UTC)
        paths = self._paths()
        for path in paths:
            try:
                with Segment.recover(path) as segment:
                    made = dt.datetime.fromtimestamp(segment.created_ms / 1000, dt.UTC)
                    age = (now - made).total_seconds()
                    yield (
                        f"{segment.segment_id}  {segment.lane:<8}  {path.suffix[1:]:<7}  {segment.rows:>7} rows"
                        f"  {segment.body_bytes:>9} bytes  {age:>7.0f} s old  owner {path.parent.name}"
                    )
            except SegmentDamaged as error:
                yield f"{path.stem.rpartition('-')[2]}  damaged: {error}; {path}"
            except FileNotFoundError:
                continue  # flushed while we looked
        if not paths:
            yield "no segments: everything is in ClickHouse"

    def quarantine(self) -> Iterator[str]:
        """A line per row: name, lane, when, reason."""
        notes = list(self._quarantine.notes())
        for note in notes:
            at = dt.datetime.fromtimestamp(note.at / 1000, dt.UTC)
            yield f"{note.name}  {note.lane:<8}  {at:%Y-%m-%d %H:%M:%S} UTC  {note.reason}"
        if not notes:
            yield "the quarantine is empty"

    def show(self, name: str, rows: int) -> Iterator[str]:
        """The first rows of a segment, or one quarantined row, column by column. Raises NotThere."""
        for note in self._quarantine.notes():
            if note.name == name:
                yield f"refused: {note.reason}"
                yield from readable(self._quarantine.row(name), note.columns)
                return
        with Segment.recover(self._segment(name)) as segment:
            for index in range(min(rows, segment.rows)):
                yield f"row {index} of {segment.rows}"
                yield from readable(segment.row(index), segment.columns)

    def replay(self, name: str) -> Iterator[str]:
        """Send it to ClickHouse now, and remove it when it is there. Raises NotThere, NotReplayed."""
        for note in self._quarantine.notes():
            if note.name == name:
                self._insert_row(note.columns, self._quarantine.row(name), name)
                self._quarantine.remove(name)
                yield f"{name} is in ClickHouse"
                return
        yield self._replay_segment(self._segment(name))

    def _replay_segment(self, path: Path) -> str:
        owned = next((d for d in self._adopt() if d.path == path.parent), None)
        if owned is None:
            raise NotReplayed(f"{path.stem} belongs to a running process, which sends it by itself")
        try:
            with Segment.recover(path) as segment:
                asyncio.run(self._insert_segment(segment))
            path.unlink()
        except (ClickHouseError, OSError) as error:
            raise NotReplayed(f"{path.stem} was not taken: {describe(error)}") from None
        finally:
            owned.release()
        return f"{path.stem} is in ClickHouse"

    def _adopt(self) -> Iterator[OwnedDirectory]:
        """Directories of dead processes; those that are not used are given up at once."""
        for directory in adopt_orphans(self._root):
            yield directory
            directory.release()

    async def _insert_segment(self, segment: Segment) -> None:
        inserter = Inserter(self._settings)
        try:
            await inserter.insert(segment)
        finally:
            await inserter.close()

    def _insert_row(self, columns: str, row: bytes, token: str) -> None:
        async def send() -> None:
            inserter = Inserter(self._settings)
            try:
                await inserter.insert_row(columns, row, token)
            finally:
                await inserter.close()

        try:
            asyncio.run(send())
        except (ClickHouseError, OSError, ReloError) as error:
            raise NotReplayed(f"{token} was not taken: {error}") from None

    def _paths(self) -> list[Path]:
        found = (p for suffix in (OPEN, SEALED, DAMAGED) for p in self._root.glob(f"*/*{suffix}"))
        return sorted(found, key=lambda p: p.stem.rpartition("-")[2])

    def _segment(self, name: str) -> Path:
        for path in self._paths():
            if path.stem.rpartition("-")[2] == name:
                return path
        raise NotThere(f"no segment and no quarantined row is named {name}; `relo spool ls` and `quarantine` list them")


def readable(row: bytes, columns: str) -> Iterator[str]:
    """A RowBinary row as lines ``column: value``; empty values are left out."""
    at = 0

    def size() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = row[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(length: int) -> bytes:
        nonlocal at
        at += length
        return row[at - length : at]

    for column in columns.split(","):
        kind = KINDS.get(column)
        if kind in ("text", "json"):
            value: object = take(size()).decode("utf-8", "backslashreplace")
        elif kind == "texts":
            value = ", ".join(take(size()).decode("utf-8", "backslashreplace") for _ in range(size()))
        elif kind == "u32":
            value = int.from_bytes(take(4), "little")
        elif kind == "bool":
            value = take(1) != b"\0"
        elif kind == "ms":
            moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=int.from_bytes(take(8), "little", signed=True))
            value = f"{moment} UTC"
        elif kind == "decimal4":
            units, fraction = divmod(abs(raw := int.from_bytes(take(8), "little", signed=True)), SCALE)
            value = f"{'-' if raw < 0 else ''}{units}.{fraction:04}"
        else:
            yield f"  {column}: not known to this version; the rest of the row cannot be read"
            return
        if value not in ("", False):
            yield f"  {column}: {value}"
