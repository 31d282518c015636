"""Segments: what is committed is recovered, whatever happens to the file; and no misuse ends in a crash."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import relo_ingest
from relo_ingest._fast.segment import Segment, SegmentDamaged

PAGE = 4096
COUNTER = slice(64, 72)
TEXTS = 128
ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
LANE = "beacon"
COLUMNS = "event_id,client_id,größe"
TEXTS_END = TEXTS + len((ID + LANE + COLUMNS).encode())
ROWS = [b"first", b"\x00" * 8, b"third row", b"x", b"\xff" * 40]


def create(path: Path, *, capacity: int = 1000, max_rows: int = 10, **changed: object) -> Segment:
    arguments: dict[str, object] = {
        "segment_id": ID, "lane": LANE, "schema_version": 7, "columns": COLUMNS,
        "capacity": capacity, "max_rows": max_rows, "created_ms": 1_700_000_000_123,
    }  # fmt: skip
    return Segment.create(path, **{**arguments, **changed})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.segment"


@pytest.fixture
def filled(path: Path) -> Iterator[Segment]:
    segment = create(path)
    for row in ROWS:
        assert segment.append_raw(row)
    yield segment
    segment.close()


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(relo_ingest.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=150,
    )  # fmt: skip


def rows_of(segment: Segment) -> list[bytes]:
    return [segment.row(i) for i in range(segment.rows)]


# What it holds


def test_rows_are_the_body_end_to_end(filled, path):
    assert filled.rows == len(ROWS)
    assert filled.body_bytes == sum(map(len, ROWS))
    assert bytes(filled.body()) == b"".join(ROWS)
    assert rows_of(filled) == ROWS
    assert filled.body().readonly
    assert filled.lost_rows == 0
    assert not filled.sealed


def test_description_survives_recovery(filled, path):
    recovered = Segment.recover(path)
    for segment in (filled, recovered):
        assert segment.segment_id == ID
        assert segment.lane == LANE
        assert segment.columns == COLUMNS
        assert segment.schema_version == 7
        assert segment.created_ms == 1_700_000_000_123
        assert segment.capacity == 1000
        assert segment.max_rows == 10
        assert segment.path == str(path)


@pytest.mark.parametrize("seal", [False, True])
def test_recovery_gives_all_committed_rows(filled, path, seal):
    if seal:
        filled.seal()
    recovered = Segment.recover(path)
    assert rows_of(recovered) == ROWS
    assert bytes(recovered.body()) == b"".join(ROWS)
    assert recovered.lost_rows == 0
    assert recovered.sealed


def test_an_empty_segment_is_recovered_empty(path):
    create(path)
    recovered = Segment.recover(path)
    assert recovered.rows == 0
    assert bytes(recovered.body()) == b""
    assert bytes(recovered.body_range(0, 0)) == b""


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_rows_are_recovered_and_any_range_is_their_bytes(tmp_path, data):
    rows = data.draw(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
    path = tmp_path / "any"
    path.unlink(missing_ok=True)
    with create(path, capacity=6000, max_rows=20) as segment:
        assert all(segment.append_raw(row) for row in rows)
        if data.draw(st.booleans()):
            segment.seal()
        first = data.draw(st.integers(0, len(rows)))
        last = data.draw(st.integers(first, len(rows)))
        with Segment.recover(path) as recovered:
            for any_of in (segment, recovered):
                assert rows_of(any_of) == rows
                assert bytes(any_of.body_range(first, last)) == b"".join(rows[first:last])


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (2, 1), (0, 6), (6, 6), (-(2**62), 2**62)])
def test_ranges_outside_the_rows_are_refused(filled, first, last):
    with pytest.raises(IndexError):
        filled.body_range(first, last)


@pytest.mark.parametrize("i", [-1, 5, 9, 10, 2**62, -(2**62)])
def test_rows_outside_are_refused(filled, i):
    with pytest.raises(IndexError):
        filled.row(i)


def test_a_body_does_not_grow_with_later_rows(filled):
    body = filled.body()
    filled.append_raw(b"later")
    assert bytes(body) == b"".join(ROWS)


# How much it holds


def test_full_by_bytes_is_told_and_changes_nothing(path):
    segment = create(path, capacity=10)
    assert segment.append_raw(b"123456")
    assert not segment.append_raw(b"12345")
    assert segment.append_raw(b"1234")
    assert not segment.append_raw(b"1")
    assert rows_of(Segment.recover(path)) == [b"123456", b"1234"]


def test_full_by_rows_is_told_and_changes_nothing(path):
    segment = create(path, max_rows=2)
    assert [segment.append_raw(b"x") for _ in range(3)] == [True, True, False]
    assert Segment.recover(path).rows == 2


def test_an_empty_row_is_refused(path):
    with pytest.raises(ValueError, match="at least one byte"):
        create(path).append_raw(b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"capacity": 0}, {"capacity": -1}, {"capacity": 2**32}, {"capacity": 2**63 - 1}, {"max_rows": 0},
        {"max_rows": -1}, {"max_rows": 2**31}, {"columns": "c" * (1 << 20)}, {"segment_id": "i" * 70_000},
        {"lane": "l" * 70_000},
    ],
)  # fmt: skip
def test_impossible_sizes_leave_no_file(path, changed):
    with pytest.raises(ValueError, match=r"outside|long"):
        create(path, **changed)
    assert not path.exists()


@pytest.mark.parametrize("changed", [{"schema_version": -1}, {"schema_version": 2**32}, {"created_ms": 2**63}])
def test_numbers_out_of_range_leave_no_file(path, changed):
    with pytest.raises(OverflowError):
        create(path, **changed)
    assert not path.exists()


def test_a_long_column_list_takes_more_header(path):
    columns = ",".join(f"column_{i}" for i in range(2000))
    segment = create(path, columns=columns)
    segment.append_raw(b"row")
    recovered = Segment.recover(path)
    assert recovered.columns == columns
    assert rows_of(recovered) == [b"row"]


def test_segments_are_only_made_by_create_and_recover():
    with pytest.raises(TypeError, match=r"Segment\.create"):
        Segment()
    blank = Segment.__new__(Segment)
    with pytest.raises(ValueError, match="closed"):
        blank.append_raw(b"x")
    blank.close()


# The file


def test_an_existing_file_is_not_touched(path):
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError) as caught:
        create(path)
    assert path.read_bytes() == b"mine"
    assert caught.value.filename == str(path)


def test_rows_are_private_to_the_owner(filled, path):
    assert path.stat().st_mode & 0o777 == 0o600


def test_space_is_taken_before_the_first_row(path):
    create(path, capacity=1 << 20)
    assert path.stat().st_blocks * 512 >= 1 << 20


def test_sealing_gives_the_unused_space_back(path):
    segment = create(path, capacity=1 << 22, max_rows=1 << 17)
    for _ in range(1000):
        segment.append_raw(b"r" * 100)
    segment.seal()
    assert path.stat().st_size == PAGE + (1 << 20) + 100_000
    assert path.stat().st_blocks * 512 <= PAGE + 2 * PAGE + 100_000 + 2 * PAGE
    assert rows_of(segment) == [b"r" * 100] * 1000 == rows_of(Segment.recover(path))


@pytest.mark.parametrize("last", [0, 1, PAGE - 1, PAGE, PAGE + 1])
def test_every_committed_byte_can_be_read_after_sealing(path, last):
    segment = create(path, capacity=4 * PAGE)
    body = b"b" * PAGE + b"e" * last
    segment.append_raw(body[:PAGE])
    before = segment.body()
    if last:
        segment.append_raw(body[PAGE:])
    segment.seal()
    segment.seal()
    assert bytes(segment.body()) == body
    assert bytes(before) == body[:PAGE]
    assert path.stat().st_size == 2 * PAGE + len(body)


def test_a_sealed_segment_takes_no_rows(filled):
    filled.seal()
    assert filled.sealed
    with pytest.raises(ValueError, match="sealed"):
        filled.append_raw(b"x")
    filled.sync()


def test_a_recovered_segment_takes_no_rows_and_leaves_the_file_alone(filled, path):
    before = path.read_bytes()
    recovered = Segment.recover(path)
    with pytest.raises(ValueError, match="sealed"):
        recovered.append_raw(b"x")
    recovered.seal()
    recovered.sync()
    recovered.close()
    assert path.read_bytes() == before


def test_the_descriptor_takes_a_lock(filled, path):
    fcntl.flock(filled.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    recovered = Segment.recover(path)
    with pytest.raises(BlockingIOError):
        fcntl.flock(recovered.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    filled.close()
    fcntl.flock(recovered.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_paths_may_be_bytes_or_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff.segment"
    segment = create(raw)  # type: ignore[arg-type]
    assert os.fsencode(segment.path) == raw
    assert Segment.recover(segment.path).rows == 0
    for function in (create, Segment.recover):
        with pytest.raises(ValueError, match="NUL"):
            function(str(tmp_path) + "/a\0b")  # type: ignore[operator]


# A full disk


def test_no_space_by_file_size_limit_is_an_error_before_any_row(path):
    done = run(
        """
        import resource, sys
        from relo_ingest._fast.segment import Segment
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            Segment.create(sys.argv[1], segment_id="i", lane="l", schema_version=1, columns="c",
                           capacity=1 << 21, max_rows=10, created_ms=0)
        except OSError as error:
            print(error.errno, error.filename == sys.argv[1])
        """,
        path,
    )
    assert done.stdout.split() == [str(errno.EFBIG), "True"], done.stderr
    assert not path.exists()


def test_no_space_on_the_disk_is_an_error_before_any_row(tmp_path):
    code = """
        import os, sys
        from relo_ingest._fast.segment import Segment
        arguments = dict(segment_id="i", lane="l", schema_version=1, columns="c", max_rows=10, created_ms=0)
        segment = Segment.create(sys.argv[1] + "/fits", capacity=1 << 17, **arguments)
        try:
            Segment.create(sys.argv[1] + "/full", capacity=1 << 20, **arguments)
        except OSError as error:
            print(error.errno, os.listdir(sys.argv[1]))
        open(sys.argv[1] + "/rest", "wb", buffering=0).write(bytes(1 << 20))  # takes what was left
        assert segment.append_raw(bytes(1 << 17))  # the space of a segment is its own
        segment.sync()
        print(Segment.recover(segment.path).rows)
    """
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=512k none "$1" && shift && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mount, tmp_path, "true"], capture_output=True).returncode:
        pytest.skip("a small tmpfs needs root")
    environment = {**os.environ, "PYTHONPATH": str(Path(relo_ingest.__file__).parent.parent)}
    done = subprocess.run(
        [*mount, tmp_path, sys.executable, "-c", textwrap.dedent(code), tmp_path],
        env=environment, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{errno.ENOSPC} ['fits']", "1"], done.stderr


# Damage


def expected_after_cut(size: int) -> int:
    """Rows whose bytes end within a file of that size (the index comes before all bodies)."""
    end = 2 * PAGE
    rows = 0
    for row in ROWS:
        end += len(row)
        rows += end <= size
    return rows


def test_a_file_cut_at_any_byte_gives_the_rows_before_the_cut(filled, path, tmp_path):
    filled.seal()
    whole = path.read_bytes()
    assert len(whole) == 2 * PAGE + sum(map(len, ROWS))
    torn = tmp_path / "torn"
    torn.write_bytes(whole)
    for size in range(len(whole), -1, -1):
        os.truncate(torn, size)
        if size < TEXTS_END:
            with pytest.raises(SegmentDamaged):
                Segment.recover(torn)
            continue
        with Segment.recover(torn) as recovered:
            assert recovered.rows == expected_after_cut(size), size
            assert rows_of(recovered) == ROWS[: recovered.rows]
            assert recovered.lost_rows == len(ROWS) - recovered.rows


def test_a_file_whose_end_reads_as_zeros_gives_the_rows_before(filled, path, tmp_path):
    """What a power failure leaves: the size is there, some pages are not."""
    filled.seal()
    whole = path.read_bytes()
    torn = tmp_path / "torn"
    for size in range(TEXTS_END, len(whole)):
        if size > TEXTS_END + 50 and PAGE + 100 < size < 2 * PAGE:
            continue
        torn.write_bytes(whole[:size] + bytes(len(whole) - size))
        with Segment.recover(torn) as recovered:
            in_index = max(0, size - PAGE) // 8
            # A zero that the row had itself is no loss: hence "at least".
            assert recovered.rows >= min(in_index, expected_after_cut(size))
            assert rows_of(recovered) == ROWS[: recovered.rows]
            assert recovered.lost_rows == len(ROWS) - recovered.rows


def expected_after_flip(byte: int) -> int | None:
    """Rows kept when a bit of that byte is flipped; None: the header is unusable."""
    if byte < 52 or TEXTS <= byte < TEXTS_END:
        return None
    if PAGE <= byte < PAGE + 8 * len(ROWS):
        return (byte - PAGE) // 8
    if byte >= 2 * PAGE:
        return expected_after_cut(byte)
    return len(ROWS)


def test_any_flipped_bit_costs_no_row_before_it(filled, path, tmp_path):
    filled.seal()
    whole = path.read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(whole)
    # Every bit of every byte that means something, and of the edges of what does not.
    used = [*range(TEXTS_END + 8), *range(PAGE - 8, PAGE + 96), *range(2 * PAGE - 8, len(whole))]
    with damaged.open("r+b", buffering=0) as file:
        for byte in used:
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([whole[byte] ^ 1 << bit]), byte)
                rows = expected_after_flip(byte)
                if rows is None:
                    with pytest.raises(SegmentDamaged):
                        Segment.recover(damaged)
                else:
                    with Segment.recover(damaged) as recovered:
                        assert recovered.rows == rows, (byte, bit)
                        assert rows_of(recovered) == ROWS[:rows]
                        assert recovered.lost_rows == len(ROWS) - rows, (byte, bit)
            os.pwrite(file.fileno(), whole[byte : byte + 1], byte)
    assert damaged.read_bytes() == whole


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_arbitrary_damage_never_crashes_and_never_invents_a_row(tmp_path, data):
    path = tmp_path / "any"
    path.unlink(missing_ok=True)
    with create(path) as segment:
        for row in ROWS:
            segment.append_raw(row)
        if data.draw(st.booleans()):
            segment.seal()
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        junk = data.draw(st.one_of(st.binary(max_size=40), st.just(b"\xff" * 16), st.just(bytes(16))))
        if data.draw(st.booleans()):
            content[at : at + len(junk)] = junk
        else:
            content[at:at] = junk
    path.write_bytes(content)
    try:
        recovered = Segment.recover(path)
    except SegmentDamaged:
        return
    with recovered:
        assert rows_of(recovered) == ROWS[: recovered.rows]


@given(st.binary(max_size=300), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_file_of_anything_is_damaged(tmp_path, content, with_magic):
    path = tmp_path / "any"
    path.write_bytes((b"RELOSEG1" if with_magic else b"") + content)
    with pytest.raises(SegmentDamaged):
        Segment.recover(path)


def test_an_index_that_claims_more_than_there_is_is_not_believed(filled, path):
    with path.open("r+b") as file:
        file.seek(PAGE + 8 * len(ROWS))
        file.write(struct.pack("<II", 0xFFFFFFFF, 1))
        file.seek(64)
        file.write(struct.pack("<II", 9, 0xFFFFFFFF ^ 9))
    recovered = Segment.recover(path)
    assert rows_of(recovered) == ROWS
    assert recovered.lost_rows == 4


def test_a_row_committed_before_its_count_is_kept(filled, path):
    """A process killed between the index entry and the counter."""
    with path.open("r+b") as file:
        file.seek(64)
        file.write(struct.pack("<II", 4, 0xFFFFFFFF ^ 4))
    recovered = Segment.recover(path)
    assert rows_of(recovered) == ROWS
    assert recovered.lost_rows == 0


def test_rows_of_another_segment_are_not_taken_for_its_own(tmp_path):
    with create(tmp_path / "a") as a, create(tmp_path / "b", created_ms=5) as b:
        a.append_raw(b"row")
        b.append_raw(b"row")
    foreign = bytearray((tmp_path / "a").read_bytes())
    foreign[PAGE:] = (tmp_path / "b").read_bytes()[PAGE:]
    (tmp_path / "c").write_bytes(foreign)
    recovered = Segment.recover(tmp_path / "c")
    assert recovered.rows == 0
    assert recovered.lost_rows == 1


def test_another_format_version_is_refused(filled, path):
    from relo_ingest._fast.digest import crc32c

    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack("<I", 2)
    content[48:52] = struct.pack("<I", crc32c(content[TEXTS:TEXTS_END], crc32c(content[:48])))
    path.write_bytes(content)
    with pytest.raises(SegmentDamaged, match="format 2"):
        Segment.recover(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Segment.recover(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(SegmentDamaged, match="not a file"):
            Segment.recover(tmp_path / name)


def test_a_file_that_is_cut_after_recovery_is_still_whole_in_memory(filled, path):
    recovered = Segment.recover(path)
    os.truncate(path, 0)
    assert rows_of(recovered) == ROWS


def test_a_failed_recovery_leaves_no_descriptor(tmp_path):
    (tmp_path / "bad").write_bytes(b"RELOSEG1" + bytes(200))
    before = os.listdir("/proc/self/fd")
    for _ in range(50):
        with pytest.raises(SegmentDamaged):
            Segment.recover(tmp_path / "bad")
    assert len(os.listdir("/proc/self/fd")) == len(before)


# A process that dies


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.02])
def test_rows_acknowledged_before_a_kill_are_recovered(path, delay):
    code = """
        import os, sys
        from relo_ingest._fast.segment import Segment
        segment = Segment.create(sys.argv[1], segment_id="i", lane="l", schema_version=1, columns="c",
                                 capacity=64 << 20, max_rows=1 << 20, created_ms=0)
        for i in range(1 << 20):
            segment.append_raw(b"%d:" % i + b"x" * (i % 50))
            if i % 100 == 0:
                os.write(1, b"%d\\n" % (i + 1))
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(relo_ingest.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), path], env=environment, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        threading.Event().wait(delay)
        child.send_signal(signal.SIGKILL)
        acknowledged = int((child.stdout.read().split() or [b"1"])[-1])
    recovered = Segment.recover(path)
    assert recovered.rows >= acknowledged
    assert recovered.lost_rows == 0
    for i in range(recovered.rows):
        assert recovered.row(i) == b"%d:" % i + b"x" * (i % 50)


# Its end


USES: list[Callable[[Segment], object]] = [
    lambda s: s.append_raw(b"x"), lambda s: s.body(), lambda s: s.body_range(0, 1), lambda s: s.row(0),
    lambda s: s.sync(), lambda s: s.seal(), lambda s: s.fileno(), memoryview, lambda s: s.__enter__(),
]  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["open", "sealed", "recovered"])
def test_use_after_close_is_an_error(filled, path, kind, use):
    segment = Segment.recover(path) if kind == "recovered" else filled
    if kind == "sealed":
        segment.seal()
    segment.close()
    segment.close()
    assert segment.closed
    with pytest.raises(ValueError, match="closed"):
        use(segment)
    assert segment.rows == len(ROWS)
    assert "closed" in repr(segment)


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("kind", ["open", "sealed", "recovered"])
def test_a_view_outlives_close(filled, path, kind):
    segment = Segment.recover(path) if kind == "recovered" else filled
    if kind == "sealed":
        segment.seal()
    views = [segment.body(), segment.body_range(1, 3), segment.body()[2:9]]
    segment.close()
    path.unlink()
    assert bytes(views[0]) == b"".join(ROWS)
    assert bytes(views[1]) == b"".join(ROWS[1:3])
    assert bytes(views[2]) == b"".join(ROWS)[2:9]


def test_memory_is_given_back_with_the_last_view(filled, path):
    view = filled.body()
    part = view[1:2]
    filled.close()
    assert mapped(path)
    view.release()
    assert mapped(path)
    part.release()
    assert not mapped(path)


def test_nobody_gets_a_writable_view_of_committed_rows(filled, path):
    with pytest.raises((BufferError, TypeError)):
        struct.pack_into("<I", filled, 0, 1)
    with pytest.raises(TypeError):
        filled.body()[0] = 1
    assert rows_of(filled) == ROWS
    filled.close()
    assert not mapped(path)


def test_a_forgotten_segment_gives_everything_back(path):
    before = len(os.listdir("/proc/self/fd"))
    segment = create(path)
    assert mapped(path)
    del segment
    assert not mapped(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_context_manager_closes(path):
    with create(path) as segment:
        segment.append_raw(b"x")
    assert segment.closed


# Safe on disk


def test_sync_tells_the_error_of_the_kernel(filled, path):
    read, write = os.pipe()
    os.dup2(write, filled.fileno())  # a pipe cannot be synced
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        filled.sync()
    assert caught.value.filename == str(path)


def test_the_first_sync_includes_the_directory(tmp_path):
    """The name of a new file is only safe when its directory is: seen from outside, in the system calls."""
    (tmp_path / "spool").mkdir()
    segment = create(tmp_path / "spool" / "a")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        segment.sync()
    (tmp_path / "elsewhere").rename(tmp_path / "spool")
    segment.sync()
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    segment.sync()


def test_sync_runs_beside_appending_sealing_and_closing(tmp_path):
    for number in range(20):
        path = tmp_path / str(number)
        segment = create(path, capacity=1 << 20, max_rows=1 << 16)
        errors: list[BaseException] = []
        started = threading.Event()

        def keep_syncing(segment: Segment, started: threading.Event, errors: list[BaseException]) -> None:
            started.set()
            try:
                while True:
                    segment.sync()
            except BaseException as caught:
                errors.append(caught)

        thread = threading.Thread(target=keep_syncing, args=(segment, started, errors))
        thread.start()
        started.wait()
        for i in range(2000):
            segment.append_raw(b"%d" % i)
        segment.seal()
        segment.close()
        thread.join()
        assert [str(error) for error in errors] == ["the segment is closed"]
        with Segment.recover(path) as recovered:
            assert rows_of(recovered) == [b"%d" % i for i in range(2000)]


def test_closing_leaves_the_descriptor_to_a_sync_under_way(tmp_path):
    """Closed under its feet, the number could be another file's by the time of the call."""
    for attempt in range(50):
        segment = create(tmp_path / str(attempt), capacity=4 << 20)
        segment.append_raw(os.urandom(4 << 20))
        descriptor = segment.fileno()
        outcome: list[object] = []
        started = threading.Event()

        def sync(segment: Segment, started: threading.Event, outcome: list[object]) -> None:
            started.set()
            try:
                outcome.append(segment.sync())
            except ValueError as closed:
                outcome.append(closed)

        thread = threading.Thread(target=sync, args=(segment, started, outcome))
        thread.start()
        started.wait()
        threading.Event().wait(0.0005)
        segment.close()
        under_way = not outcome
        still_open = os.path.exists(f"/proc/self/fd/{descriptor}")
        was_under_way = under_way and not outcome
        thread.join()
        assert not os.path.exists(f"/proc/self/fd/{descriptor}")
        if was_under_way and outcome == [None]:
            assert still_open
            return
    pytest.skip("this disk is too fast to be caught syncing")


def test_sync_lets_other_threads_run(path):
    segment = create(path, capacity=8 << 20, max_rows=10)
    segment.append_raw(os.urandom(8 << 20))
    ran = threading.Event()
    done = threading.Event()

    def run_when_let() -> None:
        while not done.wait(0.0001):
            ran.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # nobody takes the GIL from us: it has to be given
    thread = threading.Thread(target=run_when_let)
    try:
        thread.start()
        ran.clear()
        for _ in range(100):
            segment.sync()
            if ran.is_set():
                break
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
