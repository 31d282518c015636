"""The compiled units, each against the best library call that does the same.

Why: ids, signatures and rows are made for every event; they are compiled because they are hot, and that must show.
How: a unit and its reference in turn, CPU time of the thread less that of an empty loop, ratio pair by pair, in a fresh
process on the server's core. `stripe.Webhook.construct_event` also parses the event and builds objects of it, most of
its time; so our check stands against Stripe's check alone too, and our whole way from body to row against it.

``make bench-micro`` runs the ``test_…`` functions here under pytest-benchmark: the same calls, its statistics.
"""

from __future__ import annotations

import hmac
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import stripe
import ulid_transform

from bench.harness import events, inprocess, machine
from bench.harness.duel import Duel, Spread
from bench.harness.report import NO_TARGET, Answer, at_least, at_most
from relo_ingest._fast import rowbinary, signature, ulid
from relo_ingest._fast.segment import Segment
from relo_ingest.events import COLUMNS, Event
from relo_ingest.ingest import beacon
from relo_ingest.ingest import stripe as payments
from relo_ingest.ingest.privacy import Redactor

ROW_US = 0.6
WEBHOOK_US = 15.0
PAIRS: tuple[tuple[str, str, str, float, Callable[[Spread, float], str]], ...] = (
    ("ULID against ulid_transform", "ulid.new", "ulid_transform.ulid_now", 0, at_least),
    ("signature of 3 KB against bare HMAC", "signature.verify", "hmac.digest", 1.5, at_most),
    ("signature of 3 KB against stripe's construct_event", "signature.verify", "stripe construct_event", 15, at_least),
    ("signature of 3 KB against stripe's verify_header", "signature.verify", "stripe verify_header", 0, at_least),
    ("webhook to row against stripe's construct_event", "webhook to row", "stripe construct_event", 6, at_least),
)
"""Question, ours, theirs, target (0: none), and which way it is one."""
CALLS = 20_000

SECRET = events.SECRET
BODY = events.checkout_completed("01JD4Z5G7QH8M3N2P1R0S9T8V7")
NOW = int(time.time())
HEADER = signature.sign(BODY, SECRET, NOW)
SIGNED = b"%d." % NOW + BODY


def check_signature() -> int:
    return signature.verify(BODY, HEADER, (SECRET,), NOW)


def take_webhook() -> Event:
    """What ``ingest.stripe`` does between the body and the segment."""
    assert signature.verify(BODY, HEADER, (SECRET,), NOW) == signature.OK
    event = payments.to_event(payments.decode_event(BODY), 1, NOW * 1000)
    assert event is not None
    return event


def bare_hmac() -> bytes:
    return hmac.digest(SECRET, SIGNED, "sha256")


def verify_header() -> bool:
    return bool(stripe.WebhookSignature.verify_header(BODY.decode(), HEADER, SECRET.decode(), tolerance=10**9))


def construct_event() -> Any:
    return stripe.Webhook.construct_event(BODY, HEADER, SECRET.decode(), tolerance=10**9)


class Rows:
    """One row per call into a mapped segment on disk, and a new segment when one is full."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        at_ms = NOW * 1000
        body = msgspec.json.encode(inprocess.beacon(ulid.new(), at_ms))
        sender = beacon.Sender(at_ms, "203.0.113.0", inprocess.HEADERS[1][1], "")
        self._event = beacon.to_event(*beacon.decode(body), sender, Redactor(()))
        self._segment = self._open()

    def beacon(self) -> None:
        self._append(self._event)

    def webhook(self) -> None:
        """From the body to the committed row, without the sync."""
        self._append(take_webhook())

    def _append(self, event: Event) -> None:
        if not rowbinary.append(self._segment, event):
            self._segment.close()
            self._segment = self._open()

    def _open(self) -> Segment:
        for old in self._directory.iterdir():
            old.unlink()
        name = ulid.new()
        return Segment.create(
            self._directory / name,
            segment_id=name,
            lane="beacons",
            schema_version=1,
            columns=",".join(c.name for c in COLUMNS),
            capacity=8 << 20,
            max_rows=20_000,
            created_ms=NOW * 1000,
        )


class _Block(msgspec.Struct):
    ns: float


class Measured(msgspec.Struct):
    """Nanoseconds a call, one value per block."""

    ns: dict[str, list[float]]


def measure(rounds: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="relo-bench-") as path:
        rows = Rows(Path(path))
        units: dict[str, tuple[Callable[[], object], int]] = {
            "ulid.new": (ulid.new, CALLS),
            "ulid_transform.ulid_now": (ulid_transform.ulid_now, CALLS),
            "signature.verify": (check_signature, CALLS // 10),
            "hmac.digest": (bare_hmac, CALLS // 10),
            "webhook to row": (rows.webhook, CALLS // 10),
            "stripe verify_header": (verify_header, CALLS // 10),
            "stripe construct_event": (construct_event, CALLS // 100),
            "row": (rows.beacon, CALLS),
        }
        duel = Duel({name: lambda u=unit: _Block(_timed(*u)) for name, unit in units.items()})  # type: ignore[misc]
        duel.fight([(ours, theirs, "ns") for _, ours, theirs, _, _ in PAIRS], rounds, 100)
        return Measured({name: duel.figures(name, "ns") for name in units})


def _timed(call: Callable[[], object], calls: int) -> float:
    started = time.thread_time_ns()
    for _ in range(calls):
        call()
    between = time.thread_time_ns()
    for _ in range(calls):
        pass
    return (between - started - (time.thread_time_ns() - between)) / calls


def answers(full: bool) -> Iterator[Answer]:
    ns = machine.in_fresh_process(measure, 60 if full else 15).ns

    def us(name: str) -> str:
        spread = Spread.of(ns[name])
        return f"{spread.median / 1000:.3g} µs ({spread.low / 1000:.3g}–{spread.high / 1000:.3g})"

    for question, ours, theirs, target, limit in PAIRS:
        slower = limit is at_most
        ratio = Spread.of_ratio(*((ns[ours], ns[theirs]) if slower else (ns[theirs], ns[ours])))
        yield Answer(
            question,
            f"{us(ours)} against {us(theirs)}",
            f"{'≤' if slower else '≥'} {target:g} ×" if target else "",
            f"{ratio} × {'its time' if slower else 'as fast'}",
            limit(ratio, target) if target else NO_TARGET,
            figures={ours: ns[ours], theirs: ns[theirs]},
        )
    row = Spread.of([value / 1000 for value in ns["row"]])
    verdict = at_most(row, ROW_US)
    yield Answer("a row into the segment", us("row"), f"≤ {ROW_US} µs", "", verdict, figures={"row": ns["row"]})
    webhook = Spread.of([value / 1000 for value in ns["webhook to row"]])
    question, verdict = "webhook of 3.6 KB, from the body to the committed row", at_most(webhook, WEBHOOK_US)
    yield Answer(question, us("webhook to row"), f"≤ {WEBHOOK_US:g} µs besides the sync", "", verdict)


# Under pytest-benchmark. No test asserts on time.


def test_ulid(benchmark: Any) -> None:
    assert len(benchmark(ulid.new)) == 26


def test_ulid_reference(benchmark: Any) -> None:
    assert len(benchmark(ulid_transform.ulid_now)) == 26


def test_signature(benchmark: Any) -> None:
    assert benchmark(check_signature) == signature.OK


def test_signature_reference_hmac(benchmark: Any) -> None:
    assert benchmark(bare_hmac).hex() in HEADER


def test_signature_reference_stripe(benchmark: Any) -> None:
    assert benchmark(construct_event)["id"] == msgspec.json.decode(BODY)["id"]


def test_webhook_to_row(benchmark: Any) -> None:
    assert benchmark(take_webhook).revenue == 1_161_000


def test_row(benchmark: Any, tmp_path: Path) -> None:
    benchmark(Rows(tmp_path))
