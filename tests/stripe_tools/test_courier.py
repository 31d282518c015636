"""Patience and honesty of what is sent: waits, refusals, an ingest that is away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from relo_ingest._fast import signature
from relo_ingest.errors import ConfigError
from relo_ingest.registry.snapshot import Client, Limits
from relo_ingest.settings import Ingest, Settings
from relo_ingest.stripe_tools.courier import TRIES, Courier, NothingAnswers, StillBusy, address_of
from support.stripe_events import checkout_completed

SECRET = b"whsec_courierhunter2"
STORED = (200, {}, {"received": True, "stored": True})
EVENT = msgspec.json.encode(checkout_completed())


class Ingest4(ThreadingHTTPServer):
    """Answers what it is told to, then STORED; keeps bodies and signatures."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.got: list[tuple[str, bytes, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.got.append((self.path, body, self.headers["Stripe-Signature"]))
                status, headers, content = server.answers.pop(0) if server.answers else STORED
                answer = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def ingest() -> Iterator[Ingest4]:
    server = Ingest4()
    yield server
    server.shutdown()
    server.server_close()


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waits: list[float] = []


def courier(url: str, heard: Heard | None = None, **limits: Any) -> Courier:
    heard = heard or Heard()
    client = Client(1, "shop", (SECRET,), {SECRET: Limits(**limits)} if limits else {})
    return Courier(url, client, heard.lines.append, heard.waits.append)


def refusal(status: int, code: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    return status, headers, {"error": {"code": code, "message": "hunter2"}}


def test_body_goes_out_as_it_is_and_is_signed_with_the_clients_secret(ingest: Ingest4) -> None:
    odd = EVENT.replace(b'{"id"', b'{ "id" ', 1)
    assert courier(ingest.url).deliver(odd) == "stored"
    ((path, body, header),) = ingest.got
    assert (path, body) == ("/postback/stripe/shop", odd)
    assert signature.verify(odd, header, (SECRET,), int(time.time())) == signature.OK


def test_busy_ingest_is_asked_again_after_the_time_it_names(ingest: Ingest4) -> None:
    ingest.answers = [
        refusal(503, "spool_full", **{"Retry-After": "5"}),
        refusal(429, "over_quota", **{"Retry-After": "99999"}),
        refusal(503, "too_busy"),
    ]
    heard = Heard()
    assert courier(ingest.url, heard).deliver(EVENT) == "stored"
    assert heard.waits == [5.0, 30.0, 1.0]
    assert heard.lines[0] == "the ingest says spool_full: waiting 5 s"
    assert len(ingest.got) == 4


def test_ingest_that_stays_busy_ends_the_command(ingest: Ingest4) -> None:
    ingest.answers = [refusal(503, "spool_full")] * TRIES
    with pytest.raises(StillBusy, match="spool_full after 10 tries; run this again later"):
        courier(ingest.url).deliver(EVENT)


def test_refusals_are_counted_by_reason_and_never_repeat_the_answer(ingest: Ingest4) -> None:
    ingest.answers = [
        refusal(401, "bad_signature"),
        refusal(401, "bad_signature"),
        (404, {}, b"<html>hunter2</html>"),
        refusal(400, "Not a code: hunter2"),
        (200, {}, {"received": True, "stored": False}),
        (200, {}, b"hunter2"),
        (302, {"Location": "http://127.0.0.1:1/"}, b""),
    ]
    sent = courier(ingest.url)
    results = [sent.deliver(EVENT) for _ in range(8)]
    assert results == [*["bad_signature"] * 2, "http_404", "http_400", "ignored", "http_200", "http_302", "stored"]
    lines = list(sent.summary.lines())
    assert lines[0] == "8 sent: 1 stored, 1 ignored (nothing to store in them), 6 refused"
    assert lines[1].startswith("  refused 2: bad_signature; ")
    assert "hunter2" not in "\n".join(lines)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"nope", b'{"id":1}', b"\xff", EVENT.replace(b'"event"', b'"charge"')])
def test_what_is_no_event_is_not_sent(ingest: Ingest4, body: bytes) -> None:
    assert courier(ingest.url).deliver(body) == "not_an_event"
    assert ingest.got == []


def test_secret_of_the_other_mode_signs_nothing(ingest: Ingest4) -> None:
    sent = courier(ingest.url, valid_from=0, valid_to=2**33, live=False, test=True)
    assert sent.deliver(EVENT) == "no_live_secret"
    assert sent.deliver(msgspec.json.encode(checkout_completed(livemode=False))) == "stored"


def test_ingest_that_is_not_there_is_said_at_once(free_port: int) -> None:
    heard = Heard()
    with pytest.raises(NothingAnswers, match=r"nothing answers at .* start it with `relo up`"):
        courier(f"http://127.0.0.1:{free_port}", heard).deliver(EVENT)
    assert heard.waits == []


def test_ingest_that_goes_away_is_waited_for() -> None:
    server = Ingest4()
    heard = Heard()
    sent = courier(server.url, heard)
    assert sent.deliver(EVENT) == "stored"
    server.shutdown()
    server.server_close()
    sent._http.clear()
    with pytest.raises(StillBusy, match="does not answer after 10 tries"):
        sent.deliver(EVENT)
    assert heard.waits == [1.0] * (TRIES - 1)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80")],
)
def test_address_is_that_of_the_settings_unless_given(host: str, address: str) -> None:
    assert address_of(Settings(ingest=Ingest(host=host, port=80)), "") == address
    assert address_of(Settings(), "https://p.example/") == "https://p.example"


@pytest.mark.parametrize(
    "url", ["p.example", "ftp://p.example", "http://", "http://u:hunter2@p.example", "http://h/?a"]
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url") as caught:
        address_of(Settings(), url)
    assert "hunter2" not in str(caught.value)
