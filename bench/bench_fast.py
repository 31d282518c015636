"""The compiled units, each against the best library call that does the same.

Why: ids, signatures and rows are made for every event; they are compiled because they are hot, and that must show.
How: a unit and its reference in turn, 20,000 calls each, CPU time of the thread, ratio pair by pair, in a fresh process.
`stripe.Webhook.construct_event` also parses the event, so our signature check is shown with that work too
(signature, envelope, session, row).

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
from bench.harness.duel import Duel, Ratio, Spread
from bench.harness.report import Answer, at_least, at_most
from relo_ingest._fast import rowbinary, signature, ulid
from relo_ingest._fast.segment import Segment
from relo_ingest.events import COLUMNS
from relo_ingest.ingest import beacon
from relo_ingest.ingest import stripe as payments

OVER_HMAC, UNDER_STRIPE, ROW_US = 1.5, 15.0, 0.6
CALLS = 20_000

SECRET = events.SECRET
BODY = events.checkout_completed("01JD4Z5G7QH8M3N2P1R0S9T8V7")
NOW = int(time.time())
HEADER = signature.sign(BODY, SECRET, NOW)
SIGNED = b"%d." % NOW + BODY


def check_signature() -> int:
    return signature.verify(BODY, HEADER, (SECRET,), NOW)


def take_webhook() -> Any:
    """What ``ingest.stripe`` does between the body and the segment."""
    assert signature.verify(BODY, HEADER, (SECRET,), NOW) == signature.OK
    return payments.to_event(msgspec.json.decode(BODY, type=payments.StripeEvent), 1, NOW * 1000)


def bare_hmac() -> bytes:
    return hmac.digest(SECRET, SIGNED, "sha256")


def construct_event() -> Any:
    return stripe.Webhook.construct_event(BODY, HEADER, SECRET.decode(), tolerance=10**9)


class Rows:
    """One row per call into a mapped segment on disk, and a new segment when one is full."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        at_ms = NOW * 1000
        body = msgspec.json.encode(inprocess.beacon(ulid.new(), at_ms))
        self._event = beacon.to_event(*beacon.decode(body), at_ms, "203.0.113.0", inprocess.HEADERS[1][1])
        self._segment = self._open()

    def __call__(self) -> None:
        if not rowbinary.append(self._segment, self._event):
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
        units: dict[str, tuple[Callable[[], object], int]] = {
            "ulid.new": (ulid.new, CALLS),
            "ulid_transform.ulid_now": (ulid_transform.ulid_now, CALLS),
            "signature.verify": (check_signature, CALLS // 10),
            "hmac.digest": (bare_hmac, CALLS // 10),
            "webhook to row": (take_webhook, CALLS // 10),
            "stripe construct_event": (construct_event, CALLS // 100),
            "row": (Rows(Path(path)), CALLS),
        }
        duel = Duel({name: lambda u=unit: _Block(_timed(*u)) for name, unit in units.items()})  # type: ignore[misc]
        duel.fight([("ulid.new", "ulid_transform.ulid_now", "ns"), ("signature.verify", "hmac.digest", "ns")], rounds, 100)
        return Measured({name: duel.figures(name, "ns") for name in units})


def _timed(call: Callable[[], object], calls: int) -> float:
    started = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - started) / calls


def answers(full: bool) -> Iterator[Answer]:
    ns = machine.in_fresh_process(measure, 60 if full else 15).ns

    def us(name: str) -> str:
        spread = Spread.of(ns[name])
        return f"{spread.median / 1000:.2f} µs ({spread.low / 1000:.2f}–{spread.high / 1000:.2f})"

    def pair(question: str, ours: str, theirs: str, target: str, verdict: str, ratio: Ratio, what: str) -> Answer:
        return Answer(
            question,
            f"{us(ours)} against {us(theirs)}",
            target,
            f"{ratio} {what}",
            verdict,
            figures={ours: ns[ours], theirs: ns[theirs]},
        )

    ratio = Ratio.of(ns["ulid_transform.ulid_now"], ns["ulid.new"])
    yield pair("ULID against ulid_transform", "ulid.new", "ulid_transform.ulid_now", "", "no target", ratio, "× as fast")
    ratio = Ratio.of(ns["signature.verify"], ns["hmac.digest"])
    verdict = at_most(ratio, OVER_HMAC)
    yield pair(
        "signature of 3 KB against bare HMAC", "signature.verify", "hmac.digest", "≤ 1.5 ×", verdict, ratio, "× its time"
    )
    for ours, question, target in (
        ("signature.verify", "signature of 3 KB against stripe", f"≥ {UNDER_STRIPE:g} ×"),
        ("webhook to row", "signature, decoding and row of a webhook against stripe", ""),
    ):
        ratio = Ratio.of(ns["stripe construct_event"], ns[ours])
        verdict = at_least(ratio, UNDER_STRIPE) if target else "no target"
        yield pair(question, ours, "stripe construct_event", target, verdict, ratio, "× as fast")
    row = Spread.of(ns["row"]).median / 1000
    yield Answer("a row into the segment", us("row"), f"≤ {ROW_US} µs", "", at_most(row, ROW_US), figures={"row": ns["row"]})


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
