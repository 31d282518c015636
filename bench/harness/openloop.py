"""Latency at a fixed rate, without coordinated omission.

A generator that waits for an answer before it sends the next request asks less while the server is slow, and so
leaves out just what hurts. Here request ``i`` is due at ``i / rate`` seconds, whatever became of those before it, and
its latency counts from then: also the time it waits in the generator because every connection still waits for an
answer (as in wrk2, https://github.com/giltene/wrk2). How late the generator itself was, once the request was due and a
connection free, is given beside, so that one sees whose latency it is.
"""

from __future__ import annotations

import re
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from bench.harness import machine

CONNECTIONS = 64
GRACE_S = 10.0
"""For the last answers; what is not there by then is an error."""
PERCENTILES = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99)

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Sent(msgspec.Struct):
    """What became of a run. ``latencies_ms`` are of the answered requests; ``late_ms`` says how late the generator was
    with each. Both sorted."""

    requests: int
    errors: int
    """Answers with a status of 400 or more, connections that broke, requests without an answer."""
    latencies_ms: list[float]
    late_ms: list[float]

    @property
    def p50_ms(self) -> float:
        return percentile(self.latencies_ms, 50)

    @property
    def p99_ms(self) -> float:
        return percentile(self.latencies_ms, 99)

    @property
    def p999_ms(self) -> float:
        return percentile(self.latencies_ms, 99.9)

    @property
    def late_p99_ms(self) -> float:
        return percentile(self.late_ms, 99)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed (nearest rank). NaN of nothing."""
    if not ordered:
        return float("nan")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def together(runs: Sequence[Sent]) -> Sent:
    """Several runs as one."""
    return Sent(
        sum(run.requests for run in runs),
        sum(run.errors for run in runs),
        sorted(ms for run in runs for ms in run.latencies_ms),
        sorted(ms for run in runs for ms in run.late_ms),
    )


def run(port: int, make: Callable[[], bytes], rate: float, seconds: float, connections: int = CONNECTIONS) -> Sent:
    """``send`` from a process of its own on the core of the load. ``make`` is a function of a module."""
    return machine.in_fresh_process(machine.LOAD, send, port, make, rate, seconds, connections)


def send(port: int, make: Callable[[], bytes], rate: float, seconds: float, connections: int) -> Sent:
    """``rate * seconds`` requests, each made when the one before it was sent, over so many kept-alive connections."""
    total = round(rate * seconds)
    idle = deque(_Connection(port) for _ in range(connections))
    waiting: dict[socket.socket, _Connection] = {}
    latencies, late = array("d"), array("d")
    sent = errors = 0
    request = make()
    started = free_since = time.perf_counter()
    until = started + seconds + GRACE_S
    while (sent < total or waiting) and (now := time.perf_counter()) < until and (idle or waiting):
        while sent < total and idle and (due := started + sent / rate) <= now:
            connection = idle.popleft()
            late.append(now - max(due, free_since))
            if connection.send(request, due):
                waiting[connection.socket] = connection
            else:
                errors += 1
            sent += 1
            request = make()
            now = time.perf_counter()
        pause = started + sent / rate - now if sent < total and idle else until - now
        readable, _, _ = select.select(list(waiting), [], [], max(0.0, pause))
        for found in readable:
            connection = waiting[found]
            status = connection.read()
            if status is None:
                continue
            del waiting[found]
            if status:
                now = time.perf_counter()
                latencies.append(now - connection.due)
                free_since = free_since if idle else now
                idle.append(connection)
            errors += not 0 < status < 400
    for connection in (*idle, *waiting.values()):
        connection.socket.close()
    errors += len(waiting) + total - sent
    return Sent(total, errors, sorted(1000 * s for s in latencies), sorted(1000 * s for s in late))


class _Connection:
    """One kept-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def send(self, request: bytes, due: float) -> bool:
        """False when the connection is broken."""
        self.due = due
        try:
            self.socket.sendall(request)
        except OSError:
            return False
        return True

    def read(self) -> int | None:
        """The status of the answer that is complete now, None while it is not, 0 when the connection broke."""
        try:
            chunk = self.socket.recv(65536)
        except OSError:
            chunk = b""
        if not chunk:
            return 0
        self._received += chunk
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return None
        self._received = b""
        return int(head[9:12])
