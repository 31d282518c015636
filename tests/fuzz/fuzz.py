"""Coverage-guided fuzzing with atheris (libFuzzer): ``make fuzz`` runs each target for a share of 60 s.

    python tests/fuzz/fuzz.py TARGET [libFuzzer options] [corpus directory]

The extensions are a copy of their own, compiled to tell which code an input reached (coverage.c); without that the
fuzzer only sees the Python around them. A finding is an exception that the target does not expect, a broken promise (assert), or a crash of the extensions;
libFuzzer then writes the input to ``crash-…`` and ends with a code that is not 0. Run a target on that file to see it again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl

import atheris
import msgspec
from atheris import core_with_libfuzzer

with atheris.instrument_imports(include=["relo_ingest.ingest.beacon", "relo_ingest.ingest.properties"]):
    from relo_ingest.ingest import beacon
    from relo_ingest.ingest.properties import storable

from relo_ingest._fast import digest, headers, jsontext, query, rowbinary, signature, ulid
from relo_ingest._fast.segment import Segment, SegmentDamaged
from relo_ingest.errors import RequestRefused
from relo_ingest.ingest.privacy import Redactor
from relo_ingest.ingest.visitor import Visitor
from relo_ingest.registry.landing import OfferTerms
from relo_ingest.settings import Settings

DIRECTORY = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()) / (
    f"relo-fuzz-{os.getuid()}-{''.join(sys.argv[1:2])}"
)
shutil.rmtree(DIRECTORY, ignore_errors=True)
DIRECTORY.mkdir()
NOW = 1_700_000_000_000
SENDER = NOW, "203.0.113.0", Visitor("fuzz", False, "", False)
REDACTOR = Redactor(Settings().privacy.redact_parameters)
PICKED = (b"a", b"host", b"user-agent")
pick = headers.Picker(*PICKED).pick
LANDING = OfferTerms("shop", "main", "https://shop.example/", "active", deep_link_hosts=("*.shop.example",)).landing(
    "ana"
)


def new_segment(name: str, capacity: int = 1 << 20, max_rows: int = 1000) -> Segment:
    path = DIRECTORY / name
    path.unlink(missing_ok=True)
    return Segment.create(
        path, segment_id="01ARZ3NDEKTSV4RRFFQ69G5FAV", lane="beacons", schema_version=1, columns="a,b",
        capacity=capacity, max_rows=max_rows, created_ms=NOW,
    )  # fmt: skip


rows = {"open": new_segment("rows")}


def store(found: beacon.Beacon, extras: beacon.Extras) -> None:
    """What the ingest does with a beacon, to the bytes in the segment; they are the ones ``encode`` gives."""
    event = beacon.to_event(found, extras, *SENDER, REDACTOR)
    json.loads(event.properties, parse_constant=_refuse)
    assert storable(event.properties) == event.properties, event.properties
    try:
        if not rowbinary.append(rows["open"], event):
            rows["open"].close()
            rows["open"] = new_segment("rows")
            assert rowbinary.append(rows["open"], event)
    except rowbinary.RowTooLarge:
        return
    assert rows["open"].row(rows["open"].rows - 1) == rowbinary.encode(event)


def fuzz_beacon(data: bytes) -> None:
    """A body of POST /e, to the row."""
    try:
        if data.lstrip()[:1] == b"[":
            for element in beacon.decode_array(data):
                if not isinstance(element, RequestRefused):
                    try:
                        store(*element)
                    except RequestRefused:
                        pass
        else:
            store(*beacon.decode(data))
    except RequestRefused:
        pass


def fuzz_query(data: bytes) -> None:
    """A query of GET /e, to the row; and of a link, with all of it as the page to lead to."""
    with contextlib.suppress(ValueError):
        query.parse(data, 100)
    address = LANDING.target(data.decode("utf-8", "replace"))
    assert not address or address.isascii()
    assert not address or re.fullmatch(r"https://(shop\.example|[^@:/?#]+\.shop\.example)([/?#].*)?", address)
    try:
        pairs = parse_qsl(data.decode("ascii", "replace"), keep_blank_values=True)
        store(*beacon.from_query(pairs))
    except RequestRefused:
        pass


def fuzz_signature(data: bytes) -> None:
    """A Stripe-Signature header: judged, whatever it is; what is signed with the secret is genuine, else not."""
    header, _, payload = data.partition(b"\n")
    verdict = signature.verify(payload, header, (b"whsec_a", b"", b"whsec_b"), 1_700_000_000)
    assert signature.OK <= verdict <= signature.MISMATCH
    assert verdict in (signature.MISSING, signature.MALFORMED, signature.MISMATCH), "nobody can sign by accident"
    good = signature.sign(payload, b"whsec_b", 1_700_000_000).encode()
    assert signature.verify(payload, good, (b"whsec_a", b"whsec_b"), 1_700_000_000) == signature.OK
    signature.verify(payload, header + b"," + good, (b"whsec_b",), 1_700_000_000)
    signature.verify(payload, header.decode("utf-8", "surrogateescape"), (b"whsec_b",), 1_700_000_000)


ROWS = [b"%d" % i * (1 + i % 7) for i in range(40)]


def template() -> bytes:
    with new_segment("template", capacity=4096, max_rows=64) as segment:
        for row in ROWS:
            assert segment.append_raw(row)
        segment.seal()
        return Path(segment.path).read_bytes()


TEMPLATE = template()
DAMAGED = DIRECTORY / "damaged"


def fuzz_segment(data: bytes) -> None:
    """A segment file, changed at places that the input names, cut, or replaced: what is recovered is a prefix."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(TEMPLATE)
    replaced = provider.ConsumeBool() and provider.ConsumeBool()
    if replaced:
        content = bytearray(provider.ConsumeBytes(len(data)))
    else:
        for _ in range(provider.ConsumeIntInRange(0, 8)):
            # Most of the file is empty: aim at the header, the index and the rows.
            base = provider.PickValueInList([0, 40, 64, 128, 4096, 4400, 8192, 8300])
            at = base + provider.ConsumeIntInRange(0, 160)
            new = provider.ConsumeBytes(provider.PickValueInList([1, 4, 8]))
            content[at : at + len(new)] = new
        if provider.ConsumeBool():
            del content[provider.ConsumeIntInRange(0, len(content)) :]
    DAMAGED.write_bytes(content)
    try:
        with Segment.recover(DAMAGED) as segment:
            found = [segment.row(i) for i in range(segment.rows)]
            assert b"".join(found) == bytes(segment.body())
            assert segment.body_bytes == sum(map(len, found))
            assert segment.lost_rows >= 0
            if not replaced:
                # Seeded sums: no change of some bytes makes rows that were never written.
                assert found == ROWS[: len(found)]
    except SegmentDamaged:
        pass


def fuzz_texts(data: bytes) -> None:
    """ULIDs, JSON text, hashes, names of headers: read whatever comes."""
    text = data.decode("utf-8", "surrogatepass" if data[:1] == b"s" else "replace") if _decodes(data) else ""
    if ulid.is_valid(text):
        upper = ulid.normalize(text)
        assert upper == text.upper()
        assert ulid.encode(ulid.decode(text)) == upper
        assert 0 <= ulid.timestamp_ms(text) < 1 << 48
    else:
        for function in (ulid.normalize, ulid.decode, ulid.timestamp_ms):
            try:
                function(text)
            except ValueError:
                continue
            raise AssertionError("taken although it is not valid")
    if len(data) == 16:
        assert ulid.decode(ulid.encode(data)) == data
    digest.email_hash(text)
    digest.is_sha256_hex(text)
    assert digest.crc32c(data) == digest._crc32c_portable(data)
    found = [(name, b"%d" % n) for n, name in enumerate(data.split(b"\n"))]
    values = (next((value for name, value in found if name == wanted and value), b"") for wanted in PICKED)
    assert pick(found) == tuple(values)
    if jsontext.is_plain(data):
        data.decode("utf-8")  # nothing else is plain
    made = storable(data)
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    json.loads(made, parse_constant=_refuse)  # what was an object is one that every parser reads
    assert storable(made) == made, made


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} was let through")


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass" if data[:1] == b"s" else "replace")
    except UnicodeDecodeError:
        return False
    return True


TARGETS = {name.removeprefix("fuzz_"): target for name, target in list(globals().items()) if name.startswith("fuzz_")}

SEEDS: dict[str, list[bytes]] = {
    "beacon": [
        b'{"client_id":1,"event":"purchase","event_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","cid":"c","did":"d","ts":1700000000000,'
        b'"url":"https://a/","title":"t","value":19.99,"currency":"usd","order_id":7,"user_id":"u","products":[{"id":1}],'
        b'"props":{"a":{"b":[1,1e5,"\\ud83d\\ude00"]}},"extra":null}',
        b'[{"client_id":1},{"client_id":"x"},{"client_id":1,"x":1,"props":{"\xff":1e999}},7]',
        b'{"client_id":1,"props":{"a":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}',
    ],
    "query": [b"client_id=1&event=page&value=5.5&props=%7B%22a%22%3A1%7D&x=%FF&ts=1&user_id=7&email_hash=" + b"a" * 64],
    "signature": [b"t=1700000000,v1=" + b"a" * 64 + b",v0=x,v1=b=c\n{}", b"t=+1_0,v1=\n", b" v1=a,t=\xd9\xa1"],
    "segment": [bytes(64), bytes(range(256))],
    "texts": [
        b"01ARZ3NDEKTSV4RRFFQ69G5FAV",
        b"0123456789abcdef",
        b'{"a":"\\ud800",' + b'"b":1e999}',
        b" Ann@Example.com ",
        b"a\nhost\nuser-agent",
    ],
}


def register_extensions() -> None:
    """Give libFuzzer the counters of the compiled code, when it has any."""
    ours = ctypes.CDLL(None)
    if not hasattr(ours, "relo_counters"):
        print("fuzz: the extensions are not instrumented; see make fuzz", file=sys.stderr)
        return
    counters = (ctypes.c_uint8 * (1 << 16)).in_dll(ours, "relo_counters")
    pcs = (ctypes.c_size_t * (2 << 16)).in_dll(ours, "relo_pcs")
    for number in range(1 << 16):
        pcs[2 * number] = ctypes.addressof(counters) + number
    fuzzer = ctypes.CDLL(core_with_libfuzzer.__file__)
    for register, array in (("8bit_counters", counters), ("pcs", pcs)):
        begin = ctypes.addressof(array)
        function = getattr(fuzzer, f"__sanitizer_cov_{register}_init")
        function(ctypes.c_void_p(begin), ctypes.c_void_p(begin + ctypes.sizeof(array)))


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"usage: fuzz.py {'|'.join(TARGETS)} [libFuzzer options]")
    seeds = DIRECTORY / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (seeds / str(number)).write_bytes(seed)
    register_extensions()
    has_input = any(not argument.startswith("-") for argument in sys.argv[1:])
    atheris.Setup([*sys.argv, *([] if has_input else [str(seeds)])], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
