"""Query strings: what the standard library reads, in one pass."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relo_ingest._fast.query import parse

MOST = 100
PIECES = st.one_of(
    st.sampled_from([b"&", b"=", b"%", b"+", b"%41", b"%4", b"%c3%B1", b"%ff", b"%00", b"%26", b"%3D", b"\xc3\xb1", b"\xff", b"a"]),
    st.binary(max_size=3),
)  # fmt: skip


def oracle(query: bytes) -> dict[str, str]:
    text = "".join(chr(b) if b < 0x80 else f"%{b:02X}" for b in query)
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, value)
    return found


@given(st.lists(PIECES, max_size=40).map(b"".join))
@example(b"")
@example(b"&&")
@example(b"=")
@example(b"a=1&a=2&b")
@example(b"a=b=c")
@example(b"s1=" + b"%41" * 600)
@example(b"s1=%")
@example(b"s1=%4")
@example(b"s1=%zz%4z%z4")
def test_reads_what_the_standard_library_reads(query: bytes) -> None:
    assert parse(query, 1_000) == oracle(query)


def test_order_is_kept_and_the_first_of_a_name_wins() -> None:
    assert list(parse(b"b=1&a=2&b=3", MOST).items()) == [("b", "1"), ("a", "2")]


def test_more_parameters_than_allowed_are_refused() -> None:
    assert parse(b"&".join([b"a"] * MOST), MOST) == {"a": ""}
    with pytest.raises(ValueError, match="too many"):
        parse(b"&".join([b"a"] * (MOST + 1)), MOST)


def test_expects_bytes() -> None:
    with pytest.raises(TypeError):
        parse("a=1", MOST)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        parse(None, MOST)  # type: ignore[arg-type]
