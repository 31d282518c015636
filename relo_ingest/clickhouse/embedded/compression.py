"""HTTP content codings, streaming, both ways: lz4 (frames), zstd, gzip, deflate; br for requests when installed.

ClickHouse's own block compression (`compress=1`, `decompress=1`) is another thing: see `server.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

from .errors import QueryError


class Encoder(Protocol):
    """One response body: `compress` each piece in order, `flush` once."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4Encoder:
    def __init__(self) -> None:
        import lz4.frame

        self._frame = lz4.frame.LZ4FrameCompressor(auto_flush=True)
        self._started = False

    def compress(self, data: bytes) -> bytes:
        head = b"" if self._started else self._frame.begin()
        self._started = True
        return bytes(head + self._frame.compress(data))

    def flush(self) -> bytes:
        return (b"" if self._started else self.compress(b"")) + bytes(self._frame.flush())


def _zstd_encoder() -> Encoder:
    import zstandard

    encoder: Encoder = zstandard.ZstdCompressor(level=1).compressobj()
    return encoder


# Fastest first: both ends are on one machine. ClickHouse does not go by the client's order either.
_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "lz4": _Lz4Encoder,
    "zstd": _zstd_encoder,
    "gzip": lambda: zlib.compressobj(3, wbits=31),
    "deflate": lambda: zlib.compressobj(3, wbits=15),
}


def choose_encoding(accept: str) -> str | None:
    """The coding for a response, given an Accept-Encoding header; None to send it plain."""
    offered = set()
    for item in accept.lower().split(","):
        name, _, weight = item.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            offered.add(name.strip())
    return next((name for name in _ENCODERS if name in offered), None)


def encoder(encoding: str) -> Encoder:
    """A fresh encoder for a name `choose_encoding` returned."""
    return _ENCODERS[encoding]()


def _zstd_decoder() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()


def _lz4_decoder() -> Any:
    import lz4.frame

    return lz4.frame.LZ4FrameDecompressor()


class _BrotliDecoder:
    unused_data = b""

    def __init__(self) -> None:
        import brotli

        self._stream = brotli.Decompressor()

    def decompress(self, data: bytes) -> bytes:
        return bytes(self._stream.process(data))

    @property
    def eof(self) -> bool:
        return bool(self._stream.is_finished())


_DECODERS: dict[str, Callable[[], Any]] = {
    "lz4": _lz4_decoder,
    "zstd": _zstd_decoder,
    "gzip": lambda: zlib.decompressobj(31),
    "x-gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
    "br": _BrotliDecoder,
}


class Decoder:
    """One request body. Several frames one after another are one body, as `cat a.gz b.gz` makes them."""

    def __init__(self, encoding: str) -> None:
        """Raises QueryError 48 (501) for a coding that is unknown or whose library is not installed."""
        self._encoding = encoding
        try:
            self._new = _DECODERS[encoding]
            self._frame = self._new()
        except (KeyError, ImportError):
            raise QueryError(48, "NOT_IMPLEMENTED", f"Unknown compression method '{encoding}'") from None
        self._inside = False

    def feed(self, data: bytes) -> bytes:
        """Bytes decoded so far; raises QueryError 271 when they are not in this coding."""
        pieces = []
        try:
            while data:
                if self._frame.eof:
                    self._frame = self._new()
                pieces.append(self._frame.decompress(data))
                self._inside = not self._frame.eof
                data = (self._frame.unused_data or b"") if self._frame.eof else b""
        except Exception as error:  # each library has its own exception type, none of them shared
            raise self._broken(str(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Raises QueryError 271 when the body ended in the middle of a frame."""
        if self._inside:
            raise self._broken("the body ends early")

    def _broken(self, why: str) -> QueryError:
        return QueryError(271, "CANNOT_DECOMPRESS", f"Cannot decompress the {self._encoding} request body: {why}")
