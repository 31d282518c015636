"""Picking headers: in one pass, the first value of each name, a group in a tuple of its own."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from relo_ingest._fast.headers import Picker

HEADERS = [(b"host", b"a"), (b"cookie", b"1"), (b"dnt", b""), (b"cookie", b"2"), (b"dnt", b"1")]


def test_first_value_that_is_not_empty_is_picked_in_the_order_of_the_names() -> None:
    assert Picker(b"dnt", b"cookie", b"none", b"host").pick(HEADERS) == (b"1", b"1", b"", b"a")


def test_group_is_picked_into_a_tuple_of_its_own() -> None:
    assert Picker(b"host", group=(b"dnt", b"none")).pick(HEADERS) == (b"a", (b"1", b""))
    assert Picker(group=(b"cookie",)).pick(HEADERS) == ((b"1",),)
    assert Picker(b"host").pick([]) == (b"",)


@pytest.mark.parametrize(
    "headers",
    [tuple(HEADERS), [list(pair) for pair in HEADERS], (pair for pair in HEADERS), [*HEADERS, [b"host", b"b"]]],
    ids=["tuple", "lists", "iterator", "mixed"],
)
def test_headers_may_be_any_iterable_of_pairs(headers: Iterable[tuple[bytes, bytes]]) -> None:
    assert Picker(b"host", group=(b"cookie",)).pick(headers) == (b"a", (b"1",))


def test_names_that_are_no_bytes_are_passed_over() -> None:
    assert Picker(b"host").pick([("host", b"x"), (b"host", b"y")]) == (b"y",)  # type: ignore[list-item]


@pytest.mark.parametrize("names", [("host",), (b"",), (b"x" * 64,), tuple(b"n%d" % n for n in range(17))])
def test_names_that_cannot_be_picked_are_refused(names: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="names"):
        Picker(*names)
    with pytest.raises(ValueError, match="names"):
        Picker(group=names)
