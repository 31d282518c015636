"""What JSON may be stored as it is: an independent oracle in plain Python says which texts are plain."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relo_ingest._fast.jsontext import MAX_DEPTH, is_plain

STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?(\d+))?")
ESCAPES = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


def oracle(text: bytes) -> bool:
    """The rules of jsontext.pyi, slowly, for a text that ``json`` can read."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    for string in STRING.findall(decoded):
        if any(c < " " for c in string):
            return False
        if any(e[0] not in '"\\/bfnrtu' for e in ESCAPES.findall(string)):
            return False
        if any("\ud800" <= c <= "\udfff" for c in json.loads(string)):
            return False
    bare = STRING.sub("", decoded)
    if "NaN" in bare or "Infinity" in bare:
        return False
    for number in NUMBER.finditer(bare):
        fraction, exponent, digits = number.groups()
        if (digits and len(digits) > 2) or ((fraction or exponent) and len(number[0]) > 40):
            return False
    depth = deepest = 0
    for c in bare:
        depth += (c in "{[") - (c in "}]")
        deepest = max(deepest, depth)
    return deepest <= MAX_DEPTH


CHARACTERS = st.one_of(
    st.characters(), st.sampled_from('\x00\x1f\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"\\/')
)
ESCAPED = st.sampled_from(
    [
        *(r"\ud800", r"\udbff", r"\udc00", r"\udfff", r"\ud83d\ude00", r"\uD83D\uDE00", r"\ud83dx", r"\ud83d\u0041"),
        *(r"\u0000", r"\n", r"\/", r"\"", r"\\", r"\\\\", r"\b", r"\ud7ff", r"\ue000", "\t", "\n", "\x01"),
    ]
)
STRINGS = st.lists(
    st.one_of(st.text(CHARACTERS, max_size=8).map(lambda t: json.dumps(t, ensure_ascii=False)[1:-1]), ESCAPED),
    max_size=4,
).map(lambda parts: '"' + "".join(parts) + '"')
DIGITS = st.text("0123456789", min_size=1, max_size=45)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(lambda f: repr(f).replace("nan", "NaN").replace("inf", "Infinity")),
    st.builds(lambda a, b, e: f"{int(a)}.{b}{e}", DIGITS, DIGITS, st.sampled_from(["", "e1", "E-99", "e+100", "e001"])),
    st.builds(lambda a, e: f"-{int(a)}{e}", DIGITS, st.sampled_from(["e9", "E+10", "e-999"])),
)
SPACE = st.sampled_from(["", "", " ", "\n\t", "\r "])
TEXTS = st.recursive(
    st.one_of(STRINGS, NUMBERS, st.sampled_from(["null", "true", "false"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(SPACE, STRINGS, inner), max_size=4).map(
            lambda items: "{" + ",".join(f"{s}{k}{s}:{s}{v}{s}" for s, k, v in items) + "}"
        ),
        st.builds(lambda n, v: "[" * n + v + "]" * n, st.integers(28, 34), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
@example("[" * MAX_DEPTH + "]" * MAX_DEPTH)
@example("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
@example('{"a":"\\\\ud800"}')
def test_it_agrees_with_the_oracle(text: str) -> None:
    encoded = text.encode("utf-8", "surrogatepass")
    json.loads(text, strict=False)  # JSON otherwise: what it is made for
    assert is_plain(encoded) == oracle(encoded)


@settings(max_examples=800, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda inner: b'{"a":"' + inner + b'"}'))
def test_of_any_bytes_only_utf8_is_plain(content: bytes) -> None:
    """It reads nothing beyond the end and says yes to nothing that is not UTF-8."""
    if is_plain(content):
        content.decode("utf-8")


@pytest.mark.parametrize("first", range(0x80, 0x100))
def test_utf8_is_judged_as_python_does(first: int) -> None:
    edges = (0x00, 0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    for tail in [b"", *(bytes([a]) for a in edges), *(bytes([a, b]) for a in edges for b in edges)]:
        for more in (b"", b"\x80", b"\xbf", b"a"):
            string = b'"' + bytes([first]) + tail + more + b'"'
            if b'"' in tail or b"\x00" in tail:
                continue
            try:
                string.decode("utf-8")
                expected = True
            except UnicodeDecodeError:
                expected = False
            assert is_plain(string) == expected, string


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_text_that_ends_early_is_looked_at_to_its_end(cut: int) -> None:
    for whole in (rb'"\ud83d\ude00\n\u0041"', '"é€😀aaaaaaaaaaaaaa"'.encode(), b"-1234567890.123456789e+10"):
        is_plain(whole[:cut])
        assert is_plain(whole)


def test_only_bytes_are_taken() -> None:
    for other in ("{}", bytearray(b"{}"), None, 5):
        with pytest.raises(TypeError):
            is_plain(other)  # type: ignore[arg-type]
