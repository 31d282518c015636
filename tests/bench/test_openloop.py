"""The fixed-rate generator leaves nothing out: a request's latency counts from when it was due."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bench.harness import openloop

STALL_S, RATE = 0.5, 100
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Stalling:
    """Answers one request after the other on each connection; the first answer of all takes STALL_S."""

    def __init__(self, answer: bytes, stall_s: float) -> None:
        self._answer, self._stall_s = answer, stall_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                stall, self._stall_s = self._stall_s, 0.0
                time.sleep(stall)
                connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[object]:
    started: list[Stalling] = []

    def start(answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n", stall_s: float = 0.0) -> int:
        started.append(Stalling(answer, stall_s))
        return started[-1].port

    yield start
    for server in started:
        server.close()


def send(port: int, connections: int = 1, seconds: float = STALL_S) -> openloop.Sent:
    return openloop.send(port, lambda: REQUEST, RATE, seconds, connections)


def test_requests_that_were_due_while_the_server_stalled_waited_from_then(serve) -> None:
    sent = send(serve(stall_s=STALL_S))
    waited = [STALL_S - i / RATE for i in range(round(RATE * STALL_S))]  # at least: request i was due at i / RATE
    assert sent.errors == 0
    assert all(ms / 1000 >= s for ms, s in zip(reversed(sent.latencies_ms), waited, strict=True))


def test_the_stall_is_not_called_the_generators_own_lateness(serve) -> None:
    sent = send(serve(stall_s=STALL_S))
    assert len(sent.late_ms) == sent.requests == round(RATE * STALL_S)
    assert sum(sent.late_ms) < sum(sent.latencies_ms) / 2


def test_every_request_is_sent_and_answered_once(serve) -> None:
    sent = send(serve(), connections=4)
    assert (sent.requests, sent.errors, len(sent.latencies_ms)) == (50, 0, 50)


@pytest.mark.parametrize(
    ("answer", "answered"),
    [(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", 5), (b"", 0)],
    ids=["503", "hangs up"],
)
def test_errors_are_counted(serve, answer: bytes, answered: int) -> None:
    if answer:
        port = serve(answer)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        threading.Thread(target=hang_up, args=(listener,), daemon=True).start()
    sent = send(port, seconds=0.05)
    assert (sent.requests, sent.errors, len(sent.latencies_ms)) == (5, 5, answered)


def hang_up(listener: socket.socket) -> None:
    with listener:
        connection, _ = listener.accept()
        connection.close()


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (10, 1), (11, 2), (50, 5), (90, 9), (99, 10), (100, 10)], ids=str
)
def test_percentiles_are_by_nearest_rank(percent: float, value: float) -> None:
    assert openloop.percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], percent) == value
