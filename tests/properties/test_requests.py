"""Any bytes at every door: an answer of 2xx, 3xx or 4xx, and what was accepted is later taken by ClickHouse, every row.

The application runs in this process, over a real spool; ClickHouse is away until the last test.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from faults.station import AWAY, Station
from properties.inprocess import InProcess
from relo_ingest._fast import signature, ulid
from relo_ingest.ingest import app as app_module
from relo_ingest.ingest.beacon import KNOWN_FIELDS
from relo_ingest.settings import ClickHouse, Quotas
from relo_ingest.spool.spool import Spool
from support.processes import SECRET
from support.stripe_events import checkout_completed

QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory, clickhouse: Any) -> Iterator[Station]:
    own = Station(tmp_path_factory.mktemp("requests"), clickhouse)
    yield own
    own.close()


@pytest.fixture(scope="module")
def ingest(station: Station) -> Iterator[InProcess]:
    without_bounds = Quotas(beacons_per_s=10**6, burst=10**9)
    away = msgspec.structs.replace(station.settings, clickhouse=ClickHouse(url=AWAY), quotas=without_bounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_module, "STOP_DEADLINE_S", 0.1)  # nothing can be flushed
        running = InProcess(away)
        yield running
        running.close()


# JSON as text, so that it may be what no encoder would write.

SCALARS = st.one_of(
    st.sampled_from(
        [
            "null", "true", "false", "0", "-0", "1", "-1", "1.5", "-0.0", "1e5", "1E+05", "1e999", "-1e-999", "1e308",
            "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1" * 400, "0." + "3" * 50,
            "123456789.123456789e-10", "NaN", "Infinity", "-", "01", "1.", ".5", "+1", '""', '"\\u0000"', '"\\ud800"',
            '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\t"', '"\\n"', '"\x7f"', '"2025-01-01T00:00:00Z"',
            '"1e5"', '"[1"', '"page"', '"usd"', '"a@b.c"', '"' + "f" * 64 + '"', '"' + "é" * 700 + '"', '"\\',
        ]
    ),
    st.integers().map(str),
    st.floats().map(repr),
    st.text(max_size=20).map(json.dumps),
    st.text(max_size=20).map(lambda t: json.dumps(t, ensure_ascii=False)),
    st.text(alphabet=st.characters(categories=["Cs"]), max_size=3).map(json.dumps),
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from([json.dumps(k) for k in ["a", "b", "a.b", "", ".", "a.", "_relo_marks", "_relo_ts", "user_id"]]),
    st.text(max_size=8).map(json.dumps),
    st.just('"\\u0061"'),
)


def written(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{k}:{v}" for k, v in pairs) + "}"


ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(st.tuples(KEYS, inner), max_size=4).map(written),
        st.tuples(st.integers(1, 60), inner).map(lambda deep: '{"a":' * deep[0] + deep[1] + "}" * deep[0]),
        st.tuples(st.integers(1, 60), inner).map(lambda deep: "[" * deep[0] + deep[1] + "]" * deep[0]),
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.tuples(KEYS, ANY_JSON), max_size=5).map(written)
FIELD = st.one_of(
    st.tuples(st.sampled_from([json.dumps(k) for k in sorted(KNOWN_FIELDS - {"client_id"})]), ANY_JSON),
    st.tuples(st.sampled_from(['"props"', '"props"', '"extra"']), OBJECTS),
    st.tuples(KEYS, ANY_JSON),
    # What is right more often than not, or nothing would get beyond the first check.
    st.tuples(st.just('"title"'), st.text(max_size=200).map(json.dumps)),
    st.tuples(st.just('"value"'), st.decimals(allow_nan=False, allow_infinity=False, places=6).map(str)),
    st.tuples(st.just('"ts"'), st.integers(-(2**70), 2**70).map(str)),
    st.tuples(st.just('"event_id"'), st.integers(0, 2**48 - 1).map(lambda ms: json.dumps(ulid.new_at(ms)))),
)
CLIENT = st.sampled_from([("1",)] * 9 + [("77",), ("4294967296",), ('"1"',), ("null",)]).map(
    lambda v: ('"client_id"', *v)
)
BEACONS = st.builds(lambda client, fields: written([client, *fields]), CLIENT, st.lists(FIELD, max_size=5))
ARRAYS = st.lists(st.one_of(BEACONS, BEACONS, ANY_JSON), max_size=6).map(lambda items: "[" + ",".join(items) + "]")


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """A few bytes cut out, put in, doubled or changed."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        until = min(len(content), at + draw(st.integers(0, 12)))
        what = draw(st.sampled_from(["cut", "put", "double", "flip", "end"]))
        if what == "cut":
            del content[at:until]
        elif what == "put":
            content[at:at] = draw(
                st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\0", b"[", b'"']))
            )
        elif what == "double":
            content[at:at] = content[at:until]
        elif what == "end":
            del content[at:]
        elif at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


BODIES = st.one_of(
    BEACONS.map(encoded),
    ARRAYS.map(encoded),
    mutated(st.one_of(BEACONS, ARRAYS).map(encoded)),
    st.binary(max_size=100),
)
AGENTS = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"Mozilla/5.0 (X11) Firefox/140", b"Googlebot", b"\xff" * 600])
)
ANSWERS = {200, 204, 302, 400, 401, 404, 405, 413, 415}


def check(answer: tuple[int, bytes], body: bytes) -> None:
    status, content = answer
    assert status in ANSWERS, (status, content, body[:500])
    if status >= 400:
        error = json.loads(content)["error"]
        assert error["code"] != "internal"
        assert error["message"]


@settings(QUICK, max_examples=700)
@given(BODIES, AGENTS)
@example(b'{"client_id":1,"x":1,', b"")
@example(b'{"client_id":1,"x":1,"url":"\xff"}', b"")
@example(b'[{"client_id":"x"},', b"")
@example(b'{"client_id":1,"user_id":1,"props":{"\xff":1}}', b"")
@example(b'{"client_id":1,"user_id":1,"props":' + b'{"a":' * 975 + b"1" + b"}" * 976, b"")
def test_any_body_of_a_beacon(ingest: InProcess, body: bytes, agent: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"user-agent", agent), (b"content-length", b"%d" % len(body))]
    check(ingest.request("POST", "/e", headers=headers, body=body), body)


QUERY_VALUES = st.one_of(ANY_JSON, st.text(max_size=20), st.integers().map(str), st.just(""))
QUERIES = st.one_of(
    st.binary(max_size=120),
    st.lists(
        st.tuples(st.sampled_from([*sorted(KNOWN_FIELDS), "x", "a.b", "ref", "s1", "offer"]), QUERY_VALUES), max_size=8
    ).map(lambda pairs: b"&".join([b"client_id=1", b"ref=ana", *(k.encode() + b"=" + encoded(v) for k, v in pairs)])),
)


@settings(QUICK, max_examples=300)
@given(mutated(QUERIES), st.sampled_from(["/e", "/r"]), AGENTS)
def test_any_query(ingest: InProcess, query: bytes, path: str, agent: bytes) -> None:
    if query.count(b"&") >= 99:
        return  # see faults/test_hostile_bodies.py
    cookie = b"_relo_did=" + agent + b"; x"
    headers = [(b"user-agent", agent), (b"referer", agent), (b"cookie", cookie), (b"relo-signature", b"")]
    check(ingest.request("GET", path, query, headers), query)


def session_with(changes: list[tuple[str, Any]]) -> bytes:
    event: dict[str, Any] = checkout_completed()
    for path, value in changes:
        node, *steps = event, *path.split(".")
        for step in steps[:-1]:
            node = node.setdefault(step, {}) if isinstance(node, dict) else {}
            node = node if isinstance(node, dict) else {}
        node[steps[-1]] = value
    return json.dumps(event).encode()


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300), st.integers(-(10**20), 10**20),
        st.sampled_from(["", "usd", "JPY", "kwd", "unpaid", "paid", "no_payment_required", "\ud800", "\0", 2**63, 10**16]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "email", "a"]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
PATHS = [
    "id", "type", "created", "livemode", "data", "data.object", "data.object.id", "data.object.amount_total",
    "data.object.currency", "data.object.payment_status", "data.object.customer", "data.object.customer_details",
    "data.object.customer_details.email", "data.object.customer_email", "data.object.invoice", "data.object.metadata",
    "data.object.metadata.relo_click_id", "data.object.payment_intent", "data.object.subscription", "data.object.mode",
    "data.object.client_reference_id", "extra",
]  # fmt: skip
OBJECT = "data.object."
TEXTS = ["id", "currency", "mode", "client_reference_id", "customer", "invoice", "payment_intent", "subscription"]
RIGHT = st.one_of(  # of the right type, with any value
    st.tuples(st.sampled_from([OBJECT + t for t in TEXTS]), st.text(max_size=400)),
    st.tuples(st.just("data.object.metadata.relo_click_id"), st.text(max_size=400)),
    st.tuples(st.just("data.object.customer_email"), st.text(max_size=40).map(lambda t: f"{t}@{t}")),
    st.tuples(st.just("data.object.amount_total"), st.integers(-(10**14), 10**14)),
    st.tuples(st.just("data.object.payment_status"), st.sampled_from(["paid", "unpaid", "no_payment_required", "?"])),
    st.tuples(st.just("created"), st.integers(-(10**18), 10**18)),
    st.tuples(st.just("livemode"), st.booleans()),
)
PAYMENTS = st.one_of(
    st.lists(RIGHT, max_size=5).map(session_with),
    st.lists(st.tuples(st.sampled_from(PATHS), VALUES), max_size=3).map(session_with),
)


@settings(QUICK, max_examples=300)
@given(st.one_of(PAYMENTS, PAYMENTS, mutated(PAYMENTS), ANY_JSON.map(encoded), st.binary(max_size=60)))
def test_any_signed_payment(ingest: InProcess, body: bytes) -> None:
    signed = signature.sign(body, SECRET, int(time.time())).encode()
    check(ingest.request("POST", "/postback/stripe/demo", headers=[(b"stripe-signature", signed)], body=body), body)


@settings(QUICK, max_examples=150)
@given(
    st.one_of(st.binary(max_size=80), st.text(alphabet="tv10=, abcdef9", max_size=60).map(str.encode)),
    st.binary(max_size=20),
)
def test_any_signature(ingest: InProcess, signed: bytes, body: bytes) -> None:
    answer = ingest.request("POST", "/postback/stripe/demo", headers=[(b"stripe-signature", signed)], body=body)
    assert answer[0] == 401, answer


def test_everything_that_was_accepted_is_taken_by_clickhouse(station: Station, ingest: InProcess) -> None:
    """Last: none of it is in quarantine, and all of it can be read and merged."""
    ingest.close()
    ingest.close = lambda: None  # type: ignore[method-assign]
    paths = station.segments()

    async def flush() -> None:
        spool = Spool(station.settings)
        spool.start()
        until = time.monotonic() + 60
        while station.segments() and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await spool.stop(5)

    asyncio.run(flush())
    assert station.segments() == []
    quarantine = station.data_dir / "quarantine"
    assert not quarantine.exists() or list(quarantine.iterdir()) == []
    by_door = dict(station.rows("SELECT media_source, count() FROM events GROUP BY media_source"))
    assert not paths or sum(by_door.values()) > 0
    print(f"taken: {by_door}")
    station.client.command("SYSTEM START MERGES events")
    for table in ("events", "click_rows"):
        station.client.command(f"OPTIMIZE TABLE {table} FINAL")
        for (text,) in station.rows(f"SELECT toJSONString(properties) FROM {table}"):
            json.loads(text)
