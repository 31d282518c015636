"""Bad input: the documented status, one JSON error that says what to do, one counted outcome, no row, no traceback."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path

import pytest

from relo_ingest._fast import ulid
from relo_ingest.errors import PROBLEMS
from support.processes import Product, Server
from support.stripe_events import checkout_completed, signed

JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "text/plain;charset=UTF-8"}
OLD, AHEAD = int(time.time()) - 3600, int(time.time()) + 86_400
HUGE_BEACON = b'{"client_id": 1, "title": "' + b"x" * (64 << 10) + b'"}'
CHECKOUT = checkout_completed()


def outcomes(server: Server) -> dict[str, float]:
    text = server.http.get("/metrics").text
    return {m[1]: float(m[2]) for m in re.finditer(r'relo_requests_total\{outcome="(\w+)",status="\d+"\} (\S+)', text)}


CASES = {
    "malformed JSON": (400, "malformed_json", "POST", "/e", {"content": b"{", "headers": JSON}),
    "an empty body": (400, "malformed_json", "POST", "/e", {"content": b"", "headers": JSON}),
    "64 KiB of spaces": (400, "malformed_json", "POST", "/e", {"content": b" " * 65536, "headers": JSON}),
    "invalid UTF-8": (400, "malformed_json", "POST", "/e", {"content": b'{"client_id":1,"url":"\xff"}', "headers": PLAIN}),
    "nested too deep": (400, "malformed_json", "POST", "/e", {"content": b'{"client_id":1,"props":' + b"[" * 30_000, "headers": JSON}),
    "a wrong type": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":"one"}', "headers": JSON}),
    "a wrong type beside an unknown field": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":1,"x":1,"ts":"now"}', "headers": JSON}),
    "no client_id": (400, "invalid_event", "POST", "/e", {"content": b'{"event":"page"}', "headers": JSON}),
    "a client_id beyond 32 bits": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":4294967296}', "headers": JSON}),
    "an event_id that is no ULID": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":1,"event_id":"1"}', "headers": JSON}),
    "an e-mail address for a hash": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":1,"email_hash":"a@b.c"}', "headers": JSON}),
    "an amount of a million digits": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":1,"value":1e999999}', "headers": JSON}),
    "props that are no object": (400, "invalid_event", "POST", "/e", {"content": b'{"client_id":1,"props":[1]}', "headers": JSON}),
    "an array with only bad elements": (400, "invalid_event", "POST", "/e", {"content": b'[{"event":"x"}, 7]', "headers": JSON}),
    "501 events": (400, "too_many_events", "POST", "/e", {"content": b"[" + b",".join([b'{"client_id":1}'] * 501) + b"]", "headers": JSON}),
    "no client_id in the query": (400, "invalid_event", "GET", "/e?event=page", {}),
    "an unknown client": (404, "unknown_client", "POST", "/e", {"content": b'{"client_id":77}', "headers": JSON}),
    "an unknown client in the query": (404, "unknown_client", "GET", "/e?client_id=77", {}),
    "an unknown slug": (404, "unknown_client", "POST", "/postback/stripe/nobody", lambda: signed(CHECKOUT)),
    "an unknown ref": (404, "unknown_ref", "GET", "/r?ref=nobody", {}),
    "a missing ref": (404, "unknown_ref", "GET", "/r", {}),
    "an unknown code": (404, "unknown_ref", "GET", "/c/nothing", {}),
    "an unknown path": (404, "not_found", "GET", "/nothing", {}),
    "a wrong method": (405, "method_not_allowed", "PUT", "/e", {"content": b"{}", "headers": JSON}),
    "GET on a webhook": (405, "method_not_allowed", "GET", "/postback/stripe/demo", {}),
    "a single event over 64 KiB": (413, "body_too_large", "POST", "/e", {"content": HUGE_BEACON, "headers": JSON}),
    "a batch over 1 MiB": (413, "body_too_large", "POST", "/e", {"content": b"[" + b" " * (1 << 20) + b"]", "headers": JSON}),
    "a webhook over 1 MiB": (413, "body_too_large", "POST", "/postback/stripe/demo", lambda: signed(b" " * ((1 << 20) + 1))),
    "a form": (415, "unsupported_media_type", "POST", "/e", {"data": {"client_id": "1"}}),
    "no signature": (401, "missing_signature", "POST", "/postback/stripe/demo", {"content": b"{}", "headers": JSON}),
    "another's signature": (401, "bad_signature", "POST", "/postback/stripe/demo", lambda: signed(CHECKOUT, b"whsec_other")),
    "garbage for a signature": (401, "bad_signature", "POST", "/postback/stripe/demo", {"content": b"{}", "headers": {"Stripe-Signature": "what"}}),
    "an old signature": (401, "stale_signature", "POST", "/postback/stripe/demo", lambda: signed(CHECKOUT, at=OLD)),
    "a signature from the future": (401, "stale_signature", "POST", "/postback/stripe/demo", lambda: signed(CHECKOUT, at=AHEAD)),
    "no STRIPE_WEBHOOK_SECRET": (401, "bad_signature", "POST", "/postback/stripe", lambda: signed(CHECKOUT)),
    "a signed body that is no event": (400, "invalid_payload", "POST", "/postback/stripe/demo", lambda: signed(b"hello")),
    "a signed event of another shape": (400, "invalid_payload", "POST", "/postback/stripe/demo", lambda: signed(checkout_completed(id=7))),
    "an amount beyond the column": (400, "invalid_payload", "POST", "/postback/stripe/demo", lambda: signed(checkout_completed(amount_total=10**18))),
    "a backdated click signed by a stranger": (401, "bad_signature", "GET", "/r?ref=ana&ts=1", {"headers": {"Relo-Signature": "t=1,v1=00"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_its_status_and_one_counted_outcome(server: Server, case: str) -> None:
    status, code, method, path, options = CASES[case]
    before = outcomes(server)
    # Signed when it is sent: a signature is good for five minutes, and the tests before this one may take longer.
    response = server.http.request(method, path, **(options() if callable(options) else options))
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message"].startswith(next(p.message for p in PROBLEMS if p.code == code))
    after = outcomes(server)
    # Servers of several tests share the counters; this server handles one request at a time here.
    assert {k: after[k] - before[k] for k in after if after[k] != before[k]} == {code: 1, "health_answered": 1}


def test_refusals_leave_no_row_and_no_traceback(server: Server, product: Product) -> None:
    marker = ulid.new()
    bad = b'{"client_id":77,"event_id":"' + marker.encode() + b'"}'
    assert server.http.post("/e", content=bad, headers=JSON).status_code == 404
    good = b'{"client_id":1,"event_id":"' + ulid.new().encode() + b'","title":"' + marker.encode() + b'"}'
    assert server.http.post("/e", content=good, headers=JSON).status_code == 204
    product.eventually_rows("SELECT 1 FROM events WHERE title = {m:String}", m=marker)
    assert product.rows("SELECT 1 FROM events WHERE event_id = {m:String} OR client_id = 77", m=marker) == []
    for log in (product.data_dir / "logs" / "ingest.log", server.log):
        assert "Traceback" not in log.read_text()


def test_one_bad_element_does_not_take_the_others_with_it(server: Server, product: Product) -> None:
    title = ulid.new()
    batch = (
        [{"client_id": 1, "title": title}] * 3
        + [{"client_id": "x"}, {"client_id": 77}]
        + [{"client_id": 1, "title": title}]
    )
    response = server.http.post("/e", json=batch)
    assert response.status_code == 200
    answer = response.json()
    assert answer["stored"] == 4
    assert [(r["index"], r["error"]["code"]) for r in answer["refused"]] == [
        (3, "invalid_event"),
        (4, "unknown_client"),
    ]
    assert product.eventually_rows("SELECT count() FROM events WHERE title = {t:String} HAVING count() = 4", t=title)


def exchange(server: Server, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What the server answers to bytes that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(piece)
            time.sleep(pause_s)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
                if b'"}}' in answer:
                    break
        return answer


HEAD = b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_slow_body_is_answered_408(server: Server) -> None:
    answer = exchange(server, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_an_endless_body_is_answered_413(server: Server) -> None:
    chunk = b"10000\r\n" + b"[" * 65536 + b"\r\n"
    answer = exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_sender_that_goes_away_harms_nothing(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(HEAD + b'Content-Length: 100\r\n\r\n{"client_id": 1,')
    assert server.http.get("/health/live").status_code == 200
    assert server.http.post("/e", json={"client_id": 1}).status_code == 204


def test_no_message_repeats_what_was_sent(server: Server) -> None:
    for content in (
        b'{"client_id":1,"email_hash":"ann@example.com"}',
        b'{"client_id":"ann@example.com"}',
        b"ann@example.com",
    ):
        assert "ann@" not in server.http.post("/e", content=content, headers=JSON).text


def test_logs_hold_no_address_and_no_secret(server: Server, product: Product) -> None:
    event = checkout_completed(customer_details={"email": "private.person@example.com"})
    assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    assert server.http.post("/postback/stripe/demo", **signed(event, b"whsec_other")).status_code == 401
    for log in [*Path(product.data_dir / "logs").iterdir(), server.log]:
        text = log.read_text()
        assert "private.person" not in text
        assert "whsec_" not in text
