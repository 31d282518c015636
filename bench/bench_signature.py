"""A webhook's signature, and its whole way from the body to the row, against Stripe's library.

Why: every webhook is checked before it is believed, and a flood of forged ones must cost next to nothing.
How: an event of 3.6 KB (``harness/events.py``). The floor is the bare HMAC over it, which no check can do without.
`stripe.Webhook.construct_event` is what Stripe's documentation recommends; it also parses the event and builds objects
of it, most of its time, so the check alone stands against Stripe's check alone too, and our whole way from body to row
against all of it. Blocks in turn, in a fresh process on the server's core.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import stripe

from bench.harness import events, machine, micro
from bench.harness.report import Answer
from relo_ingest._fast import signature
from relo_ingest.events import Event
from relo_ingest.ingest import stripe as payments

CALLS = 2_000
OVER_HMAC, OF_CONSTRUCT_EVENT, WAY_OF_CONSTRUCT_EVENT = 1.5, 15, 6
WEBHOOK_US = 15.0

SECRET = events.SECRET
BODY = events.checkout_completed("01JD4Z5G7QH8M3N2P1R0S9T8V7")
NOW = int(time.time())
HEADER = signature.sign(BODY, SECRET, NOW)
SIGNED = b"%d." % NOW + BODY


def check() -> int:
    return signature.verify(BODY, HEADER, (SECRET,), NOW)


def bare_hmac() -> bytes:
    return hmac.digest(SECRET, SIGNED, "sha256")


def verify_header() -> bool:
    return bool(stripe.WebhookSignature.verify_header(BODY.decode(), HEADER, SECRET.decode(), tolerance=10**9))


def construct_event() -> Any:
    return stripe.Webhook.construct_event(BODY, HEADER, SECRET.decode(), tolerance=10**9)


def take_webhook() -> Event:
    """What ``ingest.stripe`` does between the body and the segment."""
    assert signature.verify(BODY, HEADER, (SECRET,), NOW) == signature.OK
    event = payments.to_event(payments.decode_event(BODY), 1, NOW * 1000)
    assert event is not None
    return event


def measure(rounds: int) -> micro.Nanoseconds:
    return micro.measure(
        {
            "check": (check, CALLS),
            "hmac.digest": (bare_hmac, CALLS),
            "webhook to event": (take_webhook, CALLS),
            "verify_header": (verify_header, CALLS),
            "construct_event": (construct_event, CALLS // 10),
        },
        rounds,
    )


def answers(full: bool) -> Iterator[Answer]:
    ns = machine.in_fresh_process(machine.SERVER, measure, 60 if full else 15)
    yield micro.slower(ns, "check", "hmac.digest", "signature, against the bare HMAC", target=OVER_HMAC)
    yield micro.faster(
        ns, "check", "construct_event", "signature, against construct_event", target=OF_CONSTRUCT_EVENT,
        headline="The check of a webhook's signature against `stripe.Webhook.construct_event`",
    )  # fmt: skip
    yield micro.faster(ns, "check", "verify_header", "signature, against stripe's verify_header")
    question = "webhook from body to event, against construct_event"
    yield micro.faster(ns, "webhook to event", "construct_event", question, target=WAY_OF_CONSTRUCT_EVENT)
    yield micro.within(
        ns, "webhook to event", "webhook from body to event", WEBHOOK_US, " with the row, without the sync"
    )


def test_signature(benchmark: Any) -> None:
    assert benchmark(check) == signature.OK


def test_signature_reference_hmac(benchmark: Any) -> None:
    assert benchmark(bare_hmac).hex() in HEADER


def test_signature_reference_stripe(benchmark: Any) -> None:
    assert benchmark(construct_event)["id"] == msgspec.json.decode(BODY)["id"]


def test_webhook_to_event(benchmark: Any) -> None:
    assert benchmark(take_webhook).revenue == 1_161_000
