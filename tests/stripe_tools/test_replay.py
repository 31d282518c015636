"""`relo stripe replay`: every form in which people export events, through the running product, as often as they like."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relo_ingest.stripe_tools import commands, replay
from relo_ingest.stripe_tools.replay import Unreadable
from support.processes import Product
from support.stripe_events import checkout_completed

Relo = Callable[..., Any]
Export = Callable[[bytes], str]
ONE, TWO, THREE = ({"id": f"evt_{n}", "object": "event", "type": "x", "amount": 1.10, "ü": [n]} for n in (1, 2, 3))


def read(content: bytes) -> list[bytes]:
    return list(replay.events(io.BytesIO(content), "events.json"))


def compact(*events: Any) -> list[bytes]:
    return [msgspec.json.encode(e) for e in events]


LINES = b"\n".join(compact(ONE, TWO, THREE))
PAGES = [{"object": "list", "data": [ONE, TWO], "has_more": True}, {"object": "list", "data": [THREE]}]


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES + b"\n",
        LINES.replace(b"\n", b"\r\n\r\n"),
        b"\xef\xbb\xbf\n\n" + LINES,
        b"\xef\xbb\xbf" + LINES,
        msgspec.json.encode([ONE, TWO, THREE]),
        json.dumps([ONE, TWO, THREE], indent=2, ensure_ascii=False).encode(),
        b"\n".join(compact(*PAGES)),
        "\n".join(json.dumps(p, indent=2, ensure_ascii=False) for p in PAGES).encode(),
        "".join(json.dumps(e, indent=1, ensure_ascii=False) for e in (ONE, TWO, THREE)).encode(),
        msgspec.json.encode(PAGES),
        b"".join(compact(ONE, TWO, THREE)),
    ],
)
def test_lines_lists_and_pages_hold_the_same_events(content: bytes) -> None:
    assert [json.loads(e) for e in read(content)] == [ONE, TWO, THREE]


def test_events_keep_their_own_bytes() -> None:
    odd = b'{"id" :"evt_1",  "amount":1.10, "big": 123456789012345678901234567890}'
    for content in (odd, b"[" + odd + b"]", b'{"data":[' + odd + b"]}", b'{"data":\n[' + odd + b"]}"):
        assert read(content) == [odd]


def test_empty_file_holds_no_event() -> None:
    assert read(b"") == read(b"\n \n") == read(b"[]") == read(b'{"data":[]}') == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hunter2", "line 1 is not JSON"),
        (b'{"id":1}\nhunter2\n', "line 2 is not JSON"),
        (b'\n\n{"id":1}\n\nhunter2\n', "line 5 is not JSON"),
        (b'{\n"id": 1}\n{\n"hunter2"', "line 4 is not JSON"),
        (b'[\n1,\n"\xff"]', "line 3 is not UTF-8"),
        (b"[" * 100_000 + b"\n", "is not JSON"),
    ],
)
def test_what_is_no_json_is_named_by_its_line_and_not_repeated(content: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says) as caught:
        read(content)
    assert "hunter2" not in str(caught.value)


def test_replayed_events_arrive_once_however_often(product: Product, relo: Relo, export: Export) -> None:
    events = [checkout_completed(amount_total=1000 + n) for n in range(25)]
    other = checkout_completed() | {"type": "payout.paid"}
    name = export(b"\n".join(compact(*events, other)))
    for _ in range(2):
        done = relo("stripe", "replay", name, "--client", "demo")
        assert (done.code, done.complaint) == (0, "")
        assert done.out == ["26 sent: 25 stored, 1 ignored (nothing to store in them), 0 refused"]
    keys = [e["data"]["object"]["payment_intent"] for e in events]
    sql = "SELECT count(), sum(revenue) FROM conversions WHERE conversion_key IN {keys:Array(String)}"
    expected = sum(1000 + n for n in range(25)) / 100
    product.eventually_rows(f"SELECT 1 FROM ({sql}) WHERE `count()` = 25", keys=keys)
    assert [(n, float(revenue)) for n, revenue in product.rows(sql, keys=keys)] == [(25, expected)]
    assert product.rows("SELECT count() FROM events FINAL WHERE event_id = {id:String}", id=events[0]["id"]) == [(1,)]


def test_progress_is_told_in_a_long_replay(
    product: Product, relo: Relo, monkeypatch: pytest.MonkeyPatch, export: Export
) -> None:
    monkeypatch.setattr(commands, "PROGRESS_EVERY", 2)
    name = export(b"\n".join(compact(*(checkout_completed(livemode=False) for _ in range(5)))))
    assert relo("stripe", "replay", name, "--client", "demo").out[:2] == ["2 sent …", "4 sent …"]


def test_refused_events_are_told_by_reason_and_the_others_go_on(product: Product, relo: Relo, export: Export) -> None:
    bad = checkout_completed()
    bad["data"]["object"] = {"payment_status": "hunter2"}
    name = export(b"\n".join(compact(checkout_completed(), bad, {"object": "charge"}, checkout_completed())))
    done = relo("stripe", "replay", name, "--client", "demo")
    assert done.code == 1
    assert done.out[0] == "4 sent: 2 stored, 0 ignored (nothing to store in them), 2 refused"
    assert [line.split(";")[0] for line in done.out[1:]] == [
        "  refused 1: invalid_payload",
        "  refused 1: not_an_event",
    ]
    assert "hunter2" not in "\n".join(done.out) + done.log


def test_summary_is_told_before_a_broken_line_ends_it(relo: Relo, product: Product, export: Export) -> None:
    name = export(compact(checkout_completed(livemode=False))[0] + b"\nnope\n")
    done = relo("stripe", "replay", name, "--client", "demo")
    assert (done.code, done.complaint) == (1, f"{name}: line 2 is not JSON")
    assert done.out == ["1 sent: 1 stored, 0 ignored (nothing to store in them), 0 refused"]


def test_stdin_is_a_file_too(relo: Relo, product: Product) -> None:
    event = compact(checkout_completed(livemode=False))[0].decode()
    assert relo("stripe", "replay", "-", "--client", "demo", stdin=event).out[0].startswith("1 sent: 1 stored")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.json", "--client", "demo"], "gone.json: cannot be read: No such file"),
        (["-"], "say which client with --client; the registry has bare, cli, dates, demo"),
        (["-", "--client", "gone"], "there is no active client gone"),
    ],
)
def test_what_is_not_there_is_one_line_and_1(relo: Relo, product: Product, arguments: list[str], says: str) -> None:
    done = relo("stripe", "replay", *arguments)
    assert (done.code, done.out) == (1, [])
    assert says in done.complaint


def test_ingest_that_is_not_there_is_one_line_and_1(
    relo: Relo, product: Product, free_port: int, tmp_path: Path, export: Export
) -> None:
    name = export(compact(checkout_completed())[0])
    done = relo("stripe", "replay", name, "--client", "demo", "--url", f"http://127.0.0.1:{free_port}")
    assert done.code == 1
    assert "start it with `relo up`" in done.complaint
