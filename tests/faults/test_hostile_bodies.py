"""Bodies meant to break something, and senders that go away half-way: the documented answer, and one readable row or none."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from faults.station import Station, metric
from relo_ingest._fast import ulid
from support.processes import Server, eventually, processes_with
from support.stripe_events import checkout_completed, signed

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory, clickhouse: Any) -> Iterator[Station]:
    own = Station(tmp_path_factory.mktemp("hostile"), clickhouse)
    yield own
    own.close()


@pytest.fixture(scope="module")
def server(station: Station) -> Iterator[Server]:
    running = station.ingest(spool_max_age_ms=50)
    yield running
    assert "Traceback" not in running.log.read_text()
    assert metric(running, "relo_rows_quarantined_total") == metric(running, "relo_rows_lost_total") == 0
    assert station.relo("spool", "quarantine") == "the quarantine is empty\n"
    assert running.stop() == 0


def stored(station: Station, event_id: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(url, title, user_agent) and the properties of the one row of an event."""
    sql = "SELECT url, title, user_agent, toJSONString(properties) FROM events WHERE event_id = {i:String}"
    [row] = eventually(lambda: station.rows(sql, i=event_id), f"{event_id} lands")
    properties = json.loads(row[3], object_pairs_hook=first_of_each)
    return row[:3], properties


def first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and isinstance(found[key], dict) and isinstance(value, dict):
            found[key] |= value
        found.setdefault(key, value)
    return found


def nested(depth: int, opening: bytes = b'{"a":', closing: bytes = b"}", core: bytes = b"1") -> bytes:
    return opening * depth + core + closing * depth


def flat(content: bytes) -> str:
    """JSON without quotes and escapes: what is nested too deep is kept as its own text, and that is the same here."""
    return re.sub(r'[\\" ]', "", content.decode())


Check = Callable[[dict[str, Any]], bool]

REFUSED: dict[str, tuple[int, str, bytes]] = {
    "nested 100,000 deep": (400, "malformed_json", b"[" * 100_000),
    "an object 100,000 deep": (413, "body_too_large", nested(100_000)),
    "an unknown field nested 3,000 deep": (400, "malformed_json", b'{"client_id":1,"x":' + nested(3_000) + b"}"),
    "NaN": (400, "malformed_json", b'{"client_id":1,"value":NaN}'),
    "Infinity in props": (400, "malformed_json", b'{"client_id":1,"props":{"a":-Infinity}}'),
    "NaN behind an unknown field": (400, "malformed_json", b'{"client_id":1,"x":1,"y":NaN}'),
    "a client_id of 5,000 digits": (400, "invalid_event", b'{"client_id":' + b"1" * 5_000 + b"}"),
    "a ts of 5,000 digits": (400, "invalid_event", b'{"client_id":1,"ts":' + b"1" * 5_000 + b"}"),
    "a user_id of 5,000 digits": (400, "invalid_event", b'{"client_id":1,"user_id":' + b"1" * 5_000 + b"}"),
    "an amount of 5,000 digits": (400, "invalid_event", b'{"client_id":1,"value":' + b"9" * 5_000 + b"}"),
    "an exponent of 9 digits": (400, "invalid_event", b'{"client_id":1,"value":1e999999999}'),
    "an escaped lone surrogate": (400, "malformed_json", b'{"client_id":1,"url":"\\ud800"}'),
    "a lone surrogate behind an unknown field": (400, "malformed_json", b'{"client_id":1,"x":1,"url":"\\udfff"}'),
    "a raw surrogate": (400, "malformed_json", b'{"client_id":1,"url":"\xed\xa0\x80"}'),
    "a raw NUL": (400, "malformed_json", b'{"client_id":1,"url":"a\0b"}'),
    "nothing but NULs": (400, "malformed_json", bytes(100)),
    "a byte order mark": (400, "malformed_json", b'\xef\xbb\xbf{"client_id":1}'),
    "UTF-16": (400, "malformed_json", '{"client_id":1}'.encode("utf-16")),
    "64 KiB of spaces": (400, "malformed_json", b" " * 65_536),
    "wrong UTF-8": (400, "malformed_json", b'{"client_id":1,"title":"\xff\xfe"}'),
    "overlong UTF-8": (400, "malformed_json", b'{"client_id":1,"title":"\xc0\xaf"}'),
    "wrong UTF-8 behind an unknown field": (400, "malformed_json", b'{"client_id":1,"x":1,"title":"\xff"}'),
    "a key of wrong UTF-8": (400, "malformed_json", b'{"client_id":1,"\xff":1}'),
    "cut behind an unknown field": (400, "malformed_json", b'{"client_id":1,"x":1,'),
    "text behind the beacon": (400, "malformed_json", b'{"client_id":1,"x":1}{"client_id":1}'),
    "an array that is cut behind a bad element": (400, "malformed_json", b'[{"client_id":"x"},'),
    "an array that goes on as garbage": (400, "malformed_json", b"[7,\x00\xff"),
    "arrays all the way down": (400, "malformed_json", b'[{"client_id":"x"},' + b"[" * 50_000),
    "one field 64 KiB long": (413, "body_too_large", b'{"client_id":1,"' + b"k" * 65_536 + b'":1}'),
    "null": (400, "invalid_event", b"null"),
    "a number": (400, "invalid_event", b"1e5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_documented_status(server: Server, case: str) -> None:
    status, code, body = REFUSED[case]
    response = server.http.post("/e", content=body, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text


DEEP: dict[str, tuple[bytes, Check]] = {
    f"props nested {depth} deep in {kind}": (
        b'"props":' + props,
        lambda kept, props=props: flat(json.dumps(kept).encode()) == flat(props),
    )
    for depth in (31, 32, 33, 64, 100, 300, 600, 900)
    for kind, props in (("objects", nested(depth)), ("arrays", b'{"a":' + nested(depth, b"[", b"]") + b"}"))
}
# Found in what came back, or not at all: the reader of so deep a thing is itself at its limit.
DEEPEST: dict[str, tuple[bytes, Check]] = {
    f"props nested {depth} deep": (b'"props":' + nested(depth), bool) for depth in (940, 960, 970, 975, 980)
}

ACCEPTED: dict[str, tuple[bytes, Check]] = {
    **DEEP,
    "an escaped NUL": (b'"url":"a\\u0000b","props":{"a\\u0000":"b\\u0000"}', lambda p: p == {"a\0": "b\0"}),
    "control characters": (b'"props":{"a":"\\n\\t\\u0001","deep":' + nested(40) + b"}", lambda p: p["a"] == "\n\t\x01"),
    "an integer beyond 64 bit": (b'"props":{"a":123456789012345678901234567890}', lambda p: float(p["a"]) > 1e29),
    "the largest of 64 bit": (b'"props":{"a":18446744073709551615}', lambda p: int(p["a"]) == 2**64 - 1),
    "one more": (b'"props":{"a":18446744073709551616}', lambda p: float(p["a"]) == 2.0**64),
    "the least of 64 bit": (b'"props":{"a":-9223372036854775808}', lambda p: int(p["a"]) == -(2**63)),
    "one less": (b'"props":{"a":-9223372036854775809}', lambda p: float(p["a"]) == -(2.0**63)),
    "an integer of 5,000 digits": (b'"props":{"a":' + b"7" * 5_000 + b"}", lambda p: str(p["a"]).startswith("7")),
    "5,000 digits in a list": (b'"props":{"a":[1,' + b"7" * 5_000 + b"]}", lambda p: len(p["a"]) == 2),
    "a fraction of 5,000 digits": (b'"props":{"a":0.' + b"7" * 5_000 + b"}", lambda p: str(p["a"]).startswith("0.7")),
    "an exponent no double holds": (b'"props":{"a":1e999,"b":-1E-999}', lambda p: p["a"] == "1e999"),
    "a ts of 25 digits": (b'"ts":' + b"1" * 25, lambda p: float(p["_relo_ts"]) > 1e24),
    "a user_id of 25 digits": (b'"user_id":' + b"1" * 25, lambda p: p["user_id"] == "1" * 25),
    "wrong UTF-8 in props": (b'"props":{"a":"\xff","ok":1}', lambda p: p == {"a": "\ufffd", "ok": 1}),
    "a raw surrogate in props": (b'"props":{"a":"\xed\xa0\x80","ok":1}', lambda p: p["ok"] == 1),
    "a key of wrong UTF-8 in props": (b'"props":{"\xff":1,"ok":1}', lambda p: p["ok"] == 1),
    "the same beside products": (b'"props":{"\xff":1,"ok":1},"products":[1]', lambda p: p["ok"] == 1 and p["products"] == [1]),
    "duplicate keys": (b'"props":{"a":1,"a":2,"b":{"c":1,"c":{"d":1}}}', lambda p: p["a"] == 1),
    "duplicate fields": (b'"title":"one","title":"two","x":1,"x":2', lambda p: p == {"x": 2}),
    "keys with dots": (b'"props":{"a.b":1,"a":{"b":2},"a.b.c":3,".":4,"..":5,"x.":6,".y":7}', bool),
    "a value and an object at one path": (b'"props":{"a":1,"a.b":2,"c":{"d":1},"c.d.e":[{"f":1}]}', bool),
    "an empty key": (b'"props":{"":1,"a":{"":{"":2}}}', bool),
    "a key of 10 KB": (b'"props":{"' + b"k" * 10_000 + b'":1}', lambda p: p == {"k" * 10_000: 1}),
    "keys that look like paths of the engine": (b'"props":{"^a":1,"`b`":2,":Int64":3,"a[]":4,"%2E":5,"\\u0060":6}', bool),
    "5,000 keys": (b'"props":{' + b",".join(b'"k%d":%d' % (i, i) for i in range(4_500)) + b"}", lambda p: len(p) == 4_500),
    "one key with many types": (b'"props":{"t":[1,"a",null,true,1.5,{"x":1},[2]]}', lambda p: len(p["t"]) == 7),
    "nothing": (b'"props":null,"products":null', lambda p: p in ({}, {"products": None})),
    "texts that look like dates": (b'"props":{"a":"2025-01-01T00:00:00.5Z"}', lambda p: p["a"] == "2025-01-01T00:00:00.5Z"),
    "an address behind a newline": (
        b'"props":{"a":"call me:\\nann@example.com","\\tann@example.com":1}',
        lambda p: p == {"a": "call me:\nREDACTED", "\tREDACTED": 1},
    ),
    "names of ours beside what is no UTF-8": (b'"props":{"_relo_x":1,"\xff":1,"ok":1}', lambda p: p["ok"] == 1),
    "our own marks": (b'"title":"' + b"t" * 600 + b'","props":{"_relo_marks":"mine"}', lambda p: p["_relo_marks"] == ["title:cut"]),
    "our own marks, hidden": (b'"title":"' + b"t" * 600 + b'","props":{"\\u005frelo_marks":1,"b":2}', lambda p: p["b"] == 2),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_as_one_row_that_can_be_read_back(station: Station, server: Server, case: str) -> None:
    fields, is_right = ACCEPTED[case]
    event_id = ulid.new()
    body = b'{"client_id":1,"event_id":"%s",%s}' % (event_id.encode(), fields)
    response = server.http.post("/e", content=body, headers=JSON)
    assert response.status_code == 204, response.text
    _, properties = stored(station, event_id)
    assert is_right(properties), properties


@pytest.mark.parametrize("case", DEEPEST)
def test_near_the_limit_it_is_kept_or_refused(station: Station, server: Server, case: str) -> None:
    """Some 950 deep is as far as the parsers go; which side of it a body falls on is theirs to say, 500 is not."""
    fields, is_right = DEEPEST[case]
    event_id = ulid.new()
    body = b'{"client_id":1,"event_id":"%s","user_id":7,%s}' % (event_id.encode(), fields)
    response = server.http.post("/e", content=body, headers=JSON)
    assert response.status_code in (204, 400), response.text
    if response.status_code == 204:
        assert is_right(stored(station, event_id)[1])


def test_one_bad_element_of_500_is_named_and_the_others_are_taken(station: Station, server: Server) -> None:
    ids = [ulid.new() for _ in range(500)]
    for bad, code in (
        (b'{"client_id":1,"ts":"now"}', "invalid_event"),
        (b'{"client_id":1,"x":1,"url":"\xff"}', "malformed_json"),
        (b'{"client_id":1,"props":[1]}', "invalid_event"),
        (b'{"client_id":99}', "unknown_client"),
        (b"7", "invalid_event"),
    ):
        ids = [ulid.new() for _ in range(500)]
        elements = [b'{"client_id":1,"event_id":"%s"}' % i.encode() for i in ids]
        elements[250] = bad
        response = server.http.post("/e", content=b"[" + b",".join(elements) + b"]", headers=JSON)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["stored"] == 499
        assert [(r["index"], r["error"]["code"]) for r in answer["refused"]] == [(250, code)]
        assert answer["refused"][0]["error"]["message"]
        del ids[250]
        count = "SELECT count(), uniqExact(event_id) FROM events WHERE event_id IN {ids:Array(String)}"
        eventually(lambda sql=count, i=ids: station.rows(sql, ids=i) == [(499, 499)], "the good ones land once")


QUERIES = {
    "percent-encoded NULs and surrogates": "client_id=1&x=%00&y=%ED%A0%80&%FF=%FF",
    "numbers as text": "client_id=1&ts=99999999999999999999999999&user_id=" + "5" * 5_000,
    "deep props": "client_id=1&props=" + '{"a":' * 900 + "1" + "}" * 900,
    "a huge number in props": "client_id=1&props={%22a%22:" + "1" * 400 + "}",
    "keys as paths": "client_id=1&a.b=1&a=2&.=3&=4",
}


@pytest.mark.parametrize("case", QUERIES)
def test_hostile_queries_of_the_image(station: Station, server: Server, case: str) -> None:
    event_id = ulid.new()
    raw = httpx.URL(server.base_url).copy_with(raw_path=b"/e?event_id=%s&" % event_id.encode() + QUERIES[case].encode())
    response = server.http.get(raw)
    assert response.status_code in (200, 400), response.text
    if response.status_code == 200:
        stored(station, event_id)


@pytest.mark.parametrize("path", ["/e?client_id=1", "/r?ref=ana"])
def test_more_than_100_fields_in_a_query_are_refused(station: Station, path: str) -> None:
    own = station.ingest()
    response = own.http.get(path + "".join(f"&a{i}=1" for i in range(101)))
    station.kill(own)
    assert response.status_code == 400, response.text


def test_hostile_links(station: Station, server: Server) -> None:
    for query in ("s1=%00&s2=%ED%A0%80&%FF=%FF", "a.b=1&a=2&a.b.c=3&.=4", "s1=" + "x" * 20_000, "s1=%22%5C%0A"):
        response = server.http.get(
            f"/r?ref=ana&{query}", headers={"User-Agent": b"\xff\xfe", "Referer": b"\xed\xa0\x80"}
        )
        assert response.status_code == 302, response.text
        stored(station, response.headers["location"].rpartition("=")[2])


def test_hostile_payments(station: Station, server: Server) -> None:
    for session in (
        {"metadata": {"relo_click_id": "\0" * 300}, "currency": "😀" * 100},
        {"client_reference_id": "x" * 10_000, "mode": "a\nb"},
        {"customer_details": {"email": "ñ" * 5_000 + "@x"}},
        {"payment_status": "\u202e", "subscription": "s" * 5_000},
        {"created": 10**17},
        {"created": -(10**17)},
    ):
        event = checkout_completed(**session)
        response = server.http.post("/postback/stripe/demo", **signed(event))
        assert response.status_code in (200, 400), response.text
        if response.status_code == 200:
            stored(station, event["id"])
    for body in (b"", b"{}", b"[" * 100_000, b'{"id":"e","type":"t","created":1e999,"data":{"object":1}}', b"\xff\xfe"):
        response = server.http.post("/postback/stripe/demo", **signed(body))
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_payload")


# Senders that go away


HEAD = b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def descriptors(server: Server) -> int:
    """Open in all processes of the server, without those that come and go with segments and ClickHouse."""
    found = 0
    for pid in processes_with(f"RELO_INGEST_PORT={server.port}\0"):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
                found += not target.endswith((".open", ".sealed"))
    return found


def cut_off(server: Server, sent: bytes, reset: bool) -> None:
    """Send that much, and go: with FIN, or with RST."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(sent)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_senders_that_go_away_leave_nothing(station: Station, server: Server) -> None:
    partial = ulid.new()
    whole_json = b'{"client_id":1,"title":"%s"}' % partial.encode()  # complete, but the body is said to be longer
    chunk = b"%x\r\n%s\r\n" % (len(whole_json), whole_json)
    one_chunk_cut = b"%x\r\n%s" % (len(whole_json) + 1, whole_json)
    cuts = [
        HEAD + b"Content-Length: 1000\r\n\r\n",
        HEAD + b"Content-Length: 1000\r\n\r\n" + whole_json,
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(whole_json) + 1) + whole_json,
        HEAD + b"Content-Length: 100000\r\n\r\n[" + b",".join([whole_json] * 500) + b"]",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + one_chunk_cut,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"ffffffff\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"nonsense\r\n\r\n",
        HEAD[:20],
        HEAD,
        b"",
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # somebody speaks TLS
        b"POST /postback/stripe/demo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{",
    ]
    # Once before counting, so that what the processes open once is open.
    list(map(lambda cut: cut_off(server, cut, reset=False), cuts))
    eventually(lambda: quiet(station, server), "what was there before is flushed")
    before, processes = descriptors(server), set(processes_with(f"RELO_INGEST_PORT={server.port}\0"))
    with ThreadPoolExecutor(16) as pool:
        for reset in (False, True):
            jobs = [pool.submit(cut_off, server, cut, reset) for _ in range(12) for cut in cuts]
            for job in jobs:
                job.result()
    # Those who go after the body, before the answer: the event is theirs, and counts.
    gone = [ulid.new() for _ in range(60)]
    with ThreadPoolExecutor(16) as pool:
        for event_id in gone:
            body = b'{"client_id":1,"event_id":"%s"}' % event_id.encode()
            pool.submit(cut_off, server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body, False)
    after = ulid.new()
    assert server.http.post("/e", json={"client_id": 1, "event_id": after}).status_code == 204
    stored(station, after)
    # Its descriptors come back, and its processes never went.
    eventually(lambda: descriptors(server) <= before + 2, f"no more than {before} descriptors and a few are open")
    assert set(processes_with(f"RELO_INGEST_PORT={server.port}\0")) == processes
    eventually(lambda: quiet(station, server), "everything is flushed")
    assert station.rows("SELECT count() FROM events WHERE title = {t:String}", t=partial) == [(0,)]
    [(count, different)] = station.rows(
        "SELECT count(), uniqExact(event_id) FROM events WHERE event_id IN {ids:Array(String)}", ids=gone
    )
    assert count == different
    assert server.http.get("/health/ready").status_code == 200


def quiet(station: Station, server: Server) -> bool:
    return station.segments() == []


def test_everything_survives_a_merge(station: Station, server: Server) -> None:
    """Last: what was taken may break only when parts are merged. Once, deeply nested values did."""
    eventually(lambda: quiet(station, server), "everything is flushed")
    before = station.rows("SELECT uniqExact(client_id, event_id) FROM events")
    assert before[0][0] > 1_000
    station.client.command("SYSTEM START MERGES events")
    for table in ("events", "click_rows"):
        station.client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert station.rows("SELECT count() FROM events") == before
    texts = station.rows("SELECT toJSONString(properties) FROM events")
    for (text,) in texts:
        json.loads(text)
