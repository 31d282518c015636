"""Rows: an independent decoder in plain Python says what they hold; a model says what they should."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import mmap
import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relo_ingest._fast import rowbinary
from relo_ingest._fast.rowbinary import MARKS_KEY, RowTooLarge, append, encode
from relo_ingest._fast.segment import Segment
from relo_ingest.events import COLUMNS, Column, Event

FIRST_MS = -2_208_988_800_000  # 1900-01-01T00:00:00.000Z
LAST_MS = 10_413_791_999_999  # 2299-12-31T23:59:59.999Z
LARGEST = 10**18 - 1
KINDS = {column.name: column.kind for column in COLUMNS}


# The decoder: https://clickhouse.com/docs/interfaces/formats/RowBinary


def decode(row: bytes) -> dict[str, Any]:
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        taken = row[at : at + size]
        assert len(taken) == size, "row ends early"
        at += size
        return taken

    def varint() -> int:
        value = shift = 0
        while True:
            byte = take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def read(kind: str) -> Any:
        match kind:
            case "text":
                return take(varint()).decode("utf-8", "strict")
            case "texts":
                return tuple(read("text") for _ in range(varint()))
            case "u32":
                return struct.unpack("<I", take(4))[0]
            case "ms" | "decimal4":
                return struct.unpack("<q", take(8))[0]
            case "bool":
                return {b"\x00": False, b"\x01": True}[take(1)]
            case "json":
                return take(varint())
        raise AssertionError(kind)

    values = {column.name: read(column.kind) for column in COLUMNS}
    assert at == len(row), "bytes after the row"
    return values


# The model


def kept_text(column: Column, text: str, marks: set[str]) -> str:
    size = 0
    kept = ""
    for character in text:
        replacement = "\ufffd" if "\ud800" <= character <= "\udfff" else character
        size += len(replacement.encode())
        if size > column.max_bytes:
            marks.add(f"{column.name}:cut")
            break
        if replacement != character:
            marks.add(f"{column.name}:replaced")
        kept += replacement
    return kept


def expected(event: Event) -> tuple[dict[str, Any], set[str]]:
    marks: set[str] = set()
    values: dict[str, Any] = {}
    for column in COLUMNS:
        value = getattr(event, column.name)
        if column.kind == "text":
            value = kept_text(column, value, marks)
        elif column.kind == "texts":
            value = tuple(kept_text(column, element, marks) for element in value)
        elif column.kind == "ms" and not FIRST_MS <= value <= LAST_MS:
            value = FIRST_MS if value < 0 else LAST_MS
            marks.add(f"{column.name}:clamped")
        values[column.name] = value
    return values, marks


CHARACTERS = st.one_of(
    st.characters(),  # all of Unicode but surrogates
    st.sampled_from("\ud800\udbff\udc00\udfff\x00\x7f\x80\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff"),
)


def texts_of(bound: int) -> st.SearchStrategy[str]:
    short = st.text(alphabet=CHARACTERS, max_size=12)
    # Around the bound, in characters of one to four bytes, behind a prefix that shifts them.
    around = st.builds(
        lambda prefix, character, missing: prefix + character * max(0, bound // len(character.encode()) + missing),
        st.text(alphabet=CHARACTERS, max_size=3),
        st.sampled_from("aé€😀"),
        st.integers(-2, 2),
    )
    return st.one_of(st.just(""), st.text(alphabet="abc123", max_size=20), short, around)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=6) | st.sampled_from([MARKS_KEY, "a"]), JSON_VALUES, max_size=4)
PROPERTIES = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(),
    OBJECTS, st.booleans(), st.sampled_from([None, None, 1]),
)  # fmt: skip


def values_of(column: Column) -> st.SearchStrategy[Any]:
    match column.kind:
        case "text":
            return texts_of(column.max_bytes)
        case "texts":
            return st.lists(texts_of(column.max_bytes), max_size=4).map(tuple)
        case "u32":
            return st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**31, 2**32 - 1])
        case "bool":
            return st.booleans()
        case "ms":
            edges = [b + d for b in (FIRST_MS, LAST_MS, -(2**63), 2**63, 0, 10**30, -(10**30)) for d in (-1, 0, 1)]
            return st.integers(0, 2 * 10**12) | st.sampled_from(edges) | st.integers()
        case "decimal4":
            return st.integers(-LARGEST, LARGEST) | st.sampled_from([0, -1, LARGEST, -LARGEST])
        case "json":
            return PROPERTIES
    raise AssertionError(column.kind)


EVENTS = st.builds(Event, **{column.name: values_of(column) for column in COLUMNS})


def event(**changed: Any) -> Event:
    plain: dict[str, Any] = {
        "event_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "client_id": 7, "event_time": 1_700_000_000_000,
        "received_at": 1_700_000_000_001, "event_type": "page", "event_name": "page", "channel": "web",
        "media_source": "pixel",
    }  # fmt: skip
    return Event(**{**plain, **changed})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.segment"


def create(path: Path, capacity: int = 1 << 16, max_rows: int = 100) -> Segment:
    return Segment.create(
        path, segment_id="i", lane="l", schema_version=1, columns="c", capacity=capacity, max_rows=max_rows,
        created_ms=0,
    )  # fmt: skip


@pytest.fixture
def segment(path: Path) -> Iterator[Segment]:
    with create(path) as segment:
        yield segment


def marks_of(row: bytes) -> list[str]:
    return json.loads(decode(row)["properties"]).get(MARKS_KEY, [])


# What a row holds


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(EVENTS)
def test_a_row_decodes_to_the_event(event):
    row = decode(encode(event))
    values, marks = expected(event)
    text = row.pop("properties")
    given_text = values.pop("properties")
    assert row == values
    if not marks:
        assert text == given_text  # byte by byte, whatever it holds
        return
    pairs = json.loads(text, object_pairs_hook=list)
    assert pairs[0][0] == MARKS_KEY
    assert sorted(pairs[0][1]) == sorted(marks)
    assert MARKS_KEY not in [name for name, _ in pairs[1:]]
    own = json.loads(given_text, object_pairs_hook=list)
    assert pairs[1:] == [pair for pair in own if pair[0] != MARKS_KEY]


@settings(
    max_examples=100, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.lists(EVENTS, max_size=4))
def test_appended_rows_are_the_encoded_ones_and_are_recovered(tmp_path, events):
    path = tmp_path / "any"
    path.unlink(missing_ok=True)
    with create(path, capacity=1 << 20) as segment:
        for one in events:
            assert append(segment, one)
        rows = [encode(one) for one in events]
        assert bytes(segment.body()) == b"".join(rows)
        with Segment.recover(path) as recovered:
            assert [recovered.row(i) for i in range(recovered.rows)] == rows
            assert recovered.lost_rows == 0


def test_a_plain_row_is_what_clickhouse_documents():
    row = encode(event(is_test=True, refs=("pi_1", "ch_2"), revenue=-12_345, properties=b'{"a":1}'))
    assert row == (
        b"\x1a01ARZ3NDEKTSV4RRFFQ69G5FAV" + struct.pack("<Iqq", 7, 1_700_000_000_000, 1_700_000_000_001)
        + b"\x04page\x04page\x03web\x05pixel" + b"\x01" + bytes(6) + b"\x02\x04pi_1\x04ch_2"
        + struct.pack("<q", -12_345) + bytes(13) + b'\x07{"a":1}'
    )  # fmt: skip


@pytest.mark.parametrize("column", [c for c in COLUMNS if c.kind == "text"], ids=lambda c: c.name)
@pytest.mark.parametrize("character", "aé€😀")
def test_text_is_cut_before_the_character_that_passes_the_bound(column, character):
    width = len(character.encode())
    fits = character * (column.max_bytes // width)
    assert decode(encode(event(**{column.name: fits})))[column.name] == fits
    assert marks_of(encode(event(**{column.name: fits}))) == []
    row = encode(event(**{column.name: fits + character * 3}))
    assert decode(row)[column.name] == fits
    assert marks_of(row) == [f"{column.name}:cut"]


def test_a_surrogate_beyond_the_cut_is_not_marked_as_replaced():
    assert marks_of(encode(event(currency="a" * 8 + "\ud800"))) == ["currency:cut"]
    assert marks_of(encode(event(currency="\ud800" + "a" * 8))) == ["currency:cut", "currency:replaced"]


def test_all_marks_are_listed_in_the_order_of_the_columns():
    row = encode(event(event_time=2**70, url="u" * 3000, refs=["é" * 200, "\udc00"], title="\ud83d\ude00"))
    assert marks_of(row) == ["event_time:clamped", "refs:cut", "refs:replaced", "url:cut", "title:replaced"]
    assert decode(row)["title"] == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("properties", "after"),
    [
        (b"{}", b'{"_relo_marks":["lang:cut"]}'),
        (b"{ \n}", b'{"_relo_marks":["lang:cut"]}'),
        (b' {"a": 1} \n', b'{"_relo_marks":["lang:cut"],"a": 1}'),
        (b'{"a":{"_relo_marks":1}}', b'{"_relo_marks":["lang:cut"],"a":{"_relo_marks":1}}'),
        (b'{"_relo_marks":["forged"],"b":[1, 2]}', b'{"_relo_marks":["lang:cut"],"b":[1, 2]}'),
        (b'{"\\u005frelo_mark\\u0073":0}', b'{"_relo_marks":["lang:cut"]}'),
        ('{"é":"\\u00e9"}'.encode(), '{"_relo_marks":["lang:cut"],"é":"\\u00e9"}'.encode()),
    ],
)
def test_marks_become_the_first_key_of_properties(properties, after):
    assert decode(encode(event(lang="x" * 36, properties=properties)))["properties"] == after


def test_without_marks_properties_are_written_as_they_are():
    for text in (b'{"_relo_marks": "theirs"}', b"{not even json}", b'{"a":"\xff"}'):
        assert decode(encode(event(properties=text)))["properties"] == text
    assert decode(encode(event(properties=b"\n\t {} \r\n")))["properties"] == b"{}"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_are_varints_of_any_width(size):
    properties = b'{"a":"' + b"x" * max(0, size - 8) + b'"}'
    assert decode(encode(event(properties=properties)))["properties"] == properties
    refs = ("r",) * min(size, 20_000)
    assert decode(encode(event(refs=refs)))["refs"] == refs


def test_encoding_leaves_no_utf8_copy_in_the_text():
    title = "é" * 200
    before = sys.getsizeof(title)
    encode(event(title=title))
    assert sys.getsizeof(title) == before


def test_subclasses_of_the_right_types_are_taken():
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    class Special(Event):
        more: str = "not a column"

    fields = {name: getattr(event(), name) for name in KINDS}
    fields |= {"title": Text("naïve"), "lang": Text("en"), "client_id": Number(5), "refs": [Text("a")]}
    row = decode(encode(Special(**fields)))
    assert (row["title"], row["lang"], row["client_id"], row["refs"]) == ("naïve", "en", 5, ("a",))


# What is refused


WRONG = {
    "text": [None, b"bytes", 5, ["x"]],
    "u32": [None, "5", 5.0, True, False],
    "ms": [None, "5", 5.0, True],
    "decimal4": [None, "5", 5.0, True],
    "bool": [None, 0, 1, "true"],
    "texts": [None, "text", {"a"}, iter(("a",)), (None,), ("a", b"b"), ["a", 1]],
    "json": [None, "{}", {}, bytearray(b"{}"), memoryview(b"{}")],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(c.name, value) for c in COLUMNS for value in WRONG[c.kind]],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_a_wrong_type_names_its_column_and_commits_nothing(segment, name, value):
    wrong = event(**{name: value})
    for write in (encode, lambda e: append(segment, e)):
        with pytest.raises(TypeError, match=f"^{name}: ") as caught:
            write(wrong)
        assert "bytes" not in str(value) or str(value) not in str(caught.value)
    assert segment.rows == segment.body_bytes == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("client_id", v) for v in (-1, 2**32, 2**63, 2**64 + 5, -(2**63), -(10**30))],
        *[("revenue", v) for v in (10**18, -(10**18), 2**63, 10**30, -(10**30))],
    ],
)
def test_a_number_out_of_range_names_its_column_and_commits_nothing(segment, name, value):
    for write in (encode, lambda e: append(segment, e)):
        with pytest.raises(OverflowError, match=f"^{name}: "):
            write(event(**{name: value}))
    assert segment.rows == segment.body_bytes == 0


@pytest.mark.parametrize("text", [b"", b"{", b"}", b"[]", b"null", b" ", b"{]", b'"{}"', b"[{}", b"{}x"])
def test_properties_that_are_no_object_are_refused(segment, text):
    for write in (encode, lambda e: append(segment, e)):
        with pytest.raises(ValueError, match=r"^properties: "):
            write(event(properties=text))
    assert segment.rows == 0


def test_properties_that_cannot_be_searched_for_the_key_are_refused(segment):
    with pytest.raises(ValueError, match=r"^properties: "):
        append(segment, event(lang="x" * 36, properties=b'{"_relo_marks": oops}'))
    assert segment.rows == 0


@pytest.mark.parametrize("thing", [None, {}, object(), ("event",), msgspec.Struct, Event])
def test_what_is_no_event_is_refused(segment, thing):
    for write in (encode, lambda e: append(segment, e)):
        with pytest.raises(TypeError, match="Event"):
            write(thing)


def test_a_field_that_was_deleted_is_named(segment):
    unset = event()
    try:
        del unset.title
    except AttributeError:
        pytest.skip("this msgspec deletes no fields")
    with pytest.raises(AttributeError, match=r"^title: "):
        append(segment, unset)


def test_append_needs_a_segment():
    for thing in (None, object(), b""):
        with pytest.raises(TypeError):
            append(thing, event())


def test_append_to_a_segment_that_takes_no_rows_is_an_error(segment, path):
    append(segment, event())
    segment.seal()
    recovered = Segment.recover(path)
    for one in (segment, recovered):
        with pytest.raises(ValueError, match="sealed"):
            append(one, event())
        one.close()
        with pytest.raises(ValueError, match="closed"):
            append(one, event())


# A full segment


@pytest.mark.parametrize("title", ["plain", "naïve", "x" * 600], ids=["plain", "wide", "marked"])
def test_every_capacity_takes_a_row_whole_or_not_at_all(tmp_path, title):
    one = event(title=title, refs=("a", "b"), url="é" * 100, properties=b'{"p":"' + b"q" * 300 + b'"}')
    size = len(encode(one))
    for capacity in range(1, size + 3):
        with create(tmp_path / str(capacity), capacity=capacity) as segment:
            if capacity < size:
                with pytest.raises(RowTooLarge, match=f"{size} bytes"):
                    append(segment, one)
                assert segment.rows == 0
            else:
                assert append(segment, one)
                assert not append(segment, one)
                assert segment.rows == 1
                assert segment.row(0) == encode(one)
        (tmp_path / str(capacity)).unlink()


def test_a_row_that_does_not_fit_changes_nothing(path):
    small, large = event(), event(url="u" * 2000)
    with create(path, capacity=3 * len(encode(small))) as segment:
        with pytest.raises(RowTooLarge):
            append(segment, large)
        assert [append(segment, small) for _ in range(4)] == [1, 2, 3, 0]
        assert bytes(segment.body()) == encode(small) * 3
        with pytest.raises(RowTooLarge):  # not 0: another segment would not help
            append(segment, large)


def test_a_segment_out_of_rows_is_full(path):
    with create(path, max_rows=1) as segment:
        assert append(segment, event())
        assert not append(segment, event())
        assert not append(segment, event(lang="x" * 36))
        assert segment.rows == 1


@pytest.fixture
def guard() -> Iterator[Callable[[Path], Segment]]:
    """Makes segments of one page of body, with memory behind it that nobody may touch."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size = 3 * mmap.PAGESIZE
    taken: list[int] = []
    # Fill the gaps between mappings, until each new one lies right before the last.
    while len(taken) < 2 or taken[-1] + size != taken[-2]:
        taken.append(libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0))

    def make(path: Path) -> Segment:
        libc.munmap(taken[-1], size)  # the gap that the next mapping of this size takes
        segment = create(path, capacity=mmap.PAGESIZE, max_rows=512)
        lines = Path("/proc/self/maps").read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if segment.path in line)
        end = lines[at].split()[0].split("-")[1]
        if not lines[at + 1].startswith(f"{end}-") or " ---p " not in lines[at + 1]:
            pytest.skip("the kernel maps elsewhere")
        return segment

    yield make
    for address in taken[:-1]:
        libc.munmap(address, size)


def test_nothing_is_written_behind_the_end(path, guard):
    """Every place where a row can meet the end; a byte too far is a segmentation fault."""
    one = event(refs=("ab", "ü"), title="naïve", url="w" * 50)
    size = len(encode(one))
    for room in range(1, size + 1):
        with guard(path.with_suffix(f".{room}")) as segment:
            segment.append_raw(bytes(mmap.PAGESIZE - room))
            assert append(segment, one) == (2 if room == size else 0)
            assert segment.rows == 1 + (room == size)


# Memory


def test_errors_and_rows_leak_nothing(tmp_path):
    bad = [event(title=b"x"), event(client_id=-1), event(properties=b"x"), event(revenue=10**30)]
    marked = event(lang="x" * 40, properties=b'{"_relo_marks":1,"a":2}')

    def use(times: int) -> None:
        for i in range(times):
            with create(tmp_path / str(i), capacity=700) as segment:
                for one in bad:
                    try:  # not pytest.raises, whose own frames would be counted
                        append(segment, one)
                    except (TypeError, ValueError, OverflowError):
                        continue
                    raise AssertionError
                append(segment, event(title="é"))
                append(segment, marked)
                append(segment, event(url="u" * 400))
                segment.body_range(0, 1).release()
                Segment.recover(segment.path).row(0)
            (tmp_path / str(i)).unlink()

    use(20)
    gc.collect()
    before = sys.getallocatedblocks()
    use(200)
    gc.collect()
    assert sys.getallocatedblocks() - before < 100


# The real reader


def test_clickhouse_reads_the_rows(tmp_path):
    if importlib.util.find_spec("chdb") is None:  # not imported here: the engine stays out of this process
        pytest.skip("chdb is not installed")
    types = {
        "text": "String", "texts": "Array(String)", "u32": "UInt32", "bool": "Bool", "ms": "DateTime64(3, 'UTC')",
        "decimal4": "Decimal(18,4)", "json": "JSON",
    }  # fmt: skip
    structure = ", ".join(f"{column.name} {types[column.kind]}" for column in COLUMNS)
    path = tmp_path / "rows.segment"
    with create(path) as segment:
        append(segment, event(title="na\x00ïve", refs=("a", "é"), revenue=-LARGEST, event_time=FIRST_MS))
        append(segment, event(is_test=True, url="é" * 2000, event_time=10**20, properties=b'{"_relo_marks":1,"b":2}'))
        (tmp_path / "body").write_bytes(segment.body())
    code = """
        import sys
        import chdb
        print(chdb.query(
            "SELECT title, refs, revenue, event_time, is_test, length(url), properties"
            f" FROM file('{sys.argv[1]}', RowBinary, $${sys.argv[2]}$$)"
            " SETTINGS input_format_binary_read_json_as_string = 1", "JSONCompactEachRow"))
    """
    # Without a sanitizer that is loaded into this process: the engine brings its own allocator.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "body", structure],
        env=environment, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.strip().splitlines())
    assert first[:2] == ["na\x00ïve", ["a", "é"]]
    assert first[3:6] == ["1900-01-01 00:00:00.000", False, 0]
    assert "-99999999999999.9999" in done.stdout
    assert second[3:6] == ["2299-12-31 23:59:59.999", True, 2048]
    assert second[6]["_relo_marks"] == ["event_time:clamped", "url:cut"]


def test_the_plan_covers_every_column():
    row = decode(encode(event()))
    assert tuple(row) == Event.__struct_fields__
    assert rowbinary.MARKS_KEY == "_relo_marks"
