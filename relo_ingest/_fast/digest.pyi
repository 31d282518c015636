"""Hashes: of e-mail addresses, of keys, and the checksum of rows."""

def email_hash(address: str) -> str:
    """SHA-256 of the trimmed, lower-cased address: 64 lower-case hex digits.

    ``""`` when nothing with an ``@`` remains. Trimmed is what JavaScript's ``String.trim`` removes, and a
    lone surrogate counts as U+FFFD, so that the pixel (``trim().toLowerCase()``, ``TextEncoder``) and the
    server agree on every input.
    """

def is_sha256_hex(text: object) -> bool:
    """True for a ``str`` of exactly 64 lower-case hex digits: the form of ``email_hash``."""

def key64(data: bytes) -> int:
    """A stable key of 64 bits (0 .. 2**64-1): BLAKE2b with an 8-byte digest, read little-endian.

    The same on every machine and in every version; nobody can aim at a collision cheaper than 2**32 tries.
    """

def crc32c(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """CRC-32C (Castagnoli, RFC 3720 B.4) of contiguous bytes, 0 .. 2**32-1.

    ``seed`` is the CRC of the bytes before: ``crc32c(b, crc32c(a)) == crc32c(a + b)``.
    OverflowError for a seed outside 32 bits; BufferError for bytes that are not contiguous.
    """

def _crc32c_portable(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """``crc32c`` by tables, as on a CPU without the instruction. For tests."""
