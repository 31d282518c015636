"""Hashes: e-mail addresses as the pixel hashes them, keys, CRC-32C against RFC 3720."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relo_ingest._fast import digest

# ECMAScript 2024, WhiteSpace and LineTerminator: what String.prototype.trim removes.
ECMASCRIPT_SPACE = (
    "\u0009\u000a\u000b\u000c\u000d\u0020\u00a0\u1680"
    + "".join(map(chr, range(0x2000, 0x200B)))
    + "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_address_is_trimmed_and_lower_cased():
    assert digest.email_hash(" \tJoe.Doe@Example.COM\r\n") == sha256("joe.doe@example.com")


def test_known_hash():
    # printf 'test@example.com' | sha256sum
    assert digest.email_hash("test@example.com") == ("973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b")


@given(st.text(), st.text(), st.text(alphabet=ECMASCRIPT_SPACE), st.text(alphabet=ECMASCRIPT_SPACE))
def test_any_address_is_hashed_as_a_browser_would(local, domain, before, after):
    text = f"x{local}@{domain}x"
    assert digest.email_hash(before + text + after) == sha256(text.lower())


@pytest.mark.parametrize("space", ["\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u180e", "\u200b"])
def test_space_that_javascript_keeps_is_kept(space):
    assert digest.email_hash(space + "a@b") == sha256(space + "a@b")


@pytest.mark.parametrize(
    ("text", "as_browser"),
    [
        ("\ud800a@b", "\ufffda@b"),
        ("a@b\udfff", "a@b\ufffd"),
        ("\ud83d\ude00@b", "\U0001f600@b"),
        ("É@B", "é@b"),
        ("İ@b", "i̇@b"),
        ("ΑΣ@b", "ας@b"),
    ],
)
def test_text_beyond_ascii_is_hashed_as_a_browser_would(text, as_browser):
    assert digest.email_hash(text) == sha256(as_browser)


@pytest.mark.parametrize("text", ["", " ", "joe", "joe at example.com", "\ufeff", "joe\uff20example.com"])
def test_what_is_no_address_has_no_hash(text):
    assert digest.email_hash(text) == ""


def test_email_hash_takes_only_text():
    for thing in (None, b"a@b", 5):
        with pytest.raises(TypeError):
            digest.email_hash(thing)


def test_its_own_hashes_are_recognised():
    assert digest.is_sha256_hex(digest.email_hash("a@b"))


@pytest.mark.parametrize(
    "thing", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "é" * 64, "a" * 63 + "\n", b"a" * 64, None, 0]
)
def test_what_is_no_hash_is_recognised(thing):
    assert digest.is_sha256_hex(thing) is False


@pytest.mark.parametrize("position", [0, 31, 63])
def test_a_hash_has_no_other_character(position):
    for code in range(0x120):
        text = "0" * position + chr(code) + "0" * (63 - position)
        assert digest.is_sha256_hex(text) == (chr(code) in "0123456789abcdef")


def test_key64_is_stable():
    # printf relo | b2sum -l 64: e622e7467d0ae6b3, read little-endian. Stored keys depend on it.
    assert digest.key64(b"relo") == 0xB3E60A7D46E722E6


@given(st.binary())
def test_key64_fits_an_unsigned_64_bit_column(data):
    assert 0 <= digest.key64(data) < 2**64
    assert digest.key64(data) != digest.key64(data + b"\0")


# RFC 3720, appendix B.4. The table there lists the CRC's bytes as sent, least significant first.
ISCSI_READ = bytes.fromhex(
    "01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000"
)
VECTORS = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (ISCSI_READ, 0xD9963A56),
    (b"", 0),
    (b"123456789", 0xE3069283),
]


@pytest.mark.parametrize("function", [digest.crc32c, digest._crc32c_portable])
@pytest.mark.parametrize(("data", "crc"), VECTORS)
def test_crc32c_gives_the_published_sums(function, data, crc):
    assert function(data) == crc


def bit_by_bit(data: bytes, seed: int = 0) -> int:
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@given(st.binary(max_size=100), st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_both_implementations_agree_with_the_definition(data, seed, offset):
    expected = bit_by_bit(data[offset:], seed)
    view = memoryview(data)[offset:]  # another alignment
    assert digest.crc32c(view, seed) == expected
    assert digest._crc32c_portable(view, seed) == expected


@given(st.binary(), st.binary())
def test_a_sum_can_be_continued(first, second):
    assert digest.crc32c(second, digest.crc32c(first)) == digest.crc32c(first + second)


def test_crc32c_takes_any_contiguous_bytes():
    assert digest.crc32c(bytearray(b"123456789")) == 0xE3069283
    with pytest.raises(BufferError):
        digest.crc32c(memoryview(b"12345678")[::2])
    with pytest.raises(TypeError):
        digest.crc32c("123456789")
    with pytest.raises(OverflowError):
        digest.crc32c(b"", 2**32)
