"""Signatures of webhooks: the verdict is that of stripe's own library, except where signature.pyi says so."""

from __future__ import annotations

import hashlib
import hmac
import time
from unittest import mock

import pytest
import stripe
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relo_ingest._fast import signature
from relo_ingest._fast.signature import MALFORMED, MISMATCH, MISSING, OK, TOO_NEW, TOO_OLD, sign, verify

NOW = 1_700_000_000
SECRET = b"whsec_" + b"k" * 32
OTHER = b"whsec_" + b"o" * 32
BODY = b'{"id": "evt_1",\r\n "object": "event", "name": "Jos\xc3\xa9"}'


def hex_of(timestamp: object, payload: bytes = BODY, secret: bytes = SECRET) -> str:
    return hmac.new(secret, f"{timestamp}.".encode() + payload, hashlib.sha256).hexdigest()


def stripes_verdict(payload: bytes, header: str | None, secret: bytes, tolerance: int = 300) -> int:
    with mock.patch("stripe._webhook.time.time", return_value=float(NOW)):
        try:
            stripe.WebhookSignature.verify_header(payload, header, secret.decode(), tolerance)
        except stripe.SignatureVerificationError as error:
            reasons = {
                "No Stripe-Signature header value": MISSING,
                "Unable to extract timestamp": MALFORMED,
                "No signatures found with expected scheme": MALFORMED,
                "No signatures found matching": MISMATCH,
                "No webhook secret value": MISMATCH,
                "Timestamp outside": TOO_OLD,
            }
            return next(verdict for text, verdict in reasons.items() if str(error).startswith(text))
    return OK


def test_constants_are_distinct_and_only_ok_is_false():
    verdicts = [OK, MISSING, MALFORMED, TOO_OLD, TOO_NEW, MISMATCH]
    assert len(set(verdicts)) == 6
    assert [bool(verdict) for verdict in verdicts] == [False] + [True] * 5


def test_the_header_made_by_stripe_is_accepted_and_the_same_as_ours():
    header = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET.decode(), NOW)
    assert sign(BODY, SECRET, NOW) == header
    assert verify(BODY, header, [SECRET], NOW) == OK
    assert verify(BODY, header.encode(), [SECRET], NOW) == OK


def test_what_we_sign_stripe_accepts():
    now = int(time.time())
    assert stripe.Webhook.construct_event(BODY, sign(BODY, SECRET, now), SECRET.decode()).id == "evt_1"


SIGNED = hex_of(NOW)
TIMES = [
    str(NOW), str(NOW - 300), str(NOW - 301), str(NOW + 300), f"+{NOW}", f" {NOW} ", f"0{NOW}", "1_700_000_000",
    "\u0661", f"\u00a0{NOW}", f"{NOW}\n", "", "0", "-5", "00", "x", "1.5", str(10**18), str(10**30), "-" + "9" * 25,
    "9" * 5000, "\ud800", f"{NOW}\x00", "²",
]  # fmt: skip
SIGNATURES = [
    SIGNED, SIGNED.upper(), SIGNED[:-1], SIGNED + "0", " " + SIGNED, SIGNED + " ", "", "0" * 64, "é" * 64,
    hex_of(NOW, secret=OTHER), hex_of(NOW, BODY + b" "), "é" + SIGNED,
    *(hex_of(time) for time in (NOW - 300, NOW - 301, NOW + 300, 0, -5, 1, 10**18, 10**30, -int("9" * 25))),
]  # fmt: skip
ITEMS = st.one_of(
    st.tuples(st.just("t"), st.just("="), st.sampled_from(TIMES)).map("".join),
    st.tuples(st.just("v1"), st.just("="), st.sampled_from(SIGNATURES)).map("".join),
    st.tuples(
        st.sampled_from(["v0", " v1", "v1 ", "V1", "v11", "v", "", " t", "T", "tt", "é", "v1", "t"]),
        st.sampled_from(["=", "", "==", "= ", "=\u00a0"]),
        st.sampled_from([*SIGNATURES, *TIMES, "=", f"{NOW}=", f"{NOW}=x=y", SIGNED + "=x", "=" + SIGNED]),
    ).map("".join),
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(ITEMS, max_size=5).map(",".join), st.sampled_from([SECRET, OTHER, b"", b" \t\r\n\f\v"]))
@example(f"t={NOW},v1={SIGNED}", SECRET)
@example(f"t=5,t={NOW},v1={SIGNED}", SECRET)
@example(f"t={NOW},t=5,v1={SIGNED}", SECRET)
@example(f"t={NOW},t,v1={SIGNED}", SECRET)
@example(f"t={NOW}=1=2,v1={SIGNED}=x", SECRET)
@example(f"t=+{NOW},v1={SIGNED}", SECRET)
@example(f"t=0{NOW},v1={SIGNED}", SECRET)
@example(f"t={NOW},v1=,v1={SIGNED},", SECRET)
@example(f",,t={NOW},v1={SIGNED}", SECRET)
@example(f"t={NOW},v1={SIGNED},v1", SECRET)
def test_verdict_is_that_of_stripe(header, secret):
    ours = verify(BODY, header, [secret], NOW)
    try:
        theirs = stripes_verdict(BODY, header, secret)
    except TypeError:  # compare_digest on a v1 that is not ASCII: no verdict
        assert ours in (OK, MISMATCH, TOO_OLD, TOO_NEW)
        return
    if not secret.strip(b" \t\r\n\f\v"):  # Stripe's looks at the secret before the form of the header
        assert ours == theirs or (theirs, ours) == (MISMATCH, MALFORMED)
        return
    assert ours == theirs or (theirs, ours) == (OK, TOO_NEW)
    try:
        latin = header.encode("latin-1")
    except UnicodeEncodeError:
        return
    assert verify(BODY, latin, [secret], NOW) == ours


@settings(deadline=None)
@given(st.text(), st.text())
def test_a_random_header_is_judged_as_stripe_does(header, body):
    try:
        payload = body.encode()
    except UnicodeEncodeError:
        payload = body.encode("utf-8", "replace")
    assert verify(payload, header, [SECRET], NOW) == stripes_verdict(payload, header, SECRET)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=80), st.integers(-(10**18), 10**18))
def test_what_is_signed_is_verified(payload, secret, timestamp):
    expected = MISMATCH if not secret.strip(b" \t\r\n\f\v") else OK
    assert verify(payload, sign(payload, secret, timestamp), [secret], timestamp) == expected


@given(st.integers(0, len(BODY) * 8 - 1))
def test_any_flipped_bit_of_the_body_is_a_mismatch(bit):
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    assert verify(bytes(changed), f"t={NOW},v1={SIGNED}", [SECRET], NOW) == MISMATCH


@pytest.mark.parametrize("position", range(64))
def test_any_wrong_digit_of_the_signature_is_a_mismatch(position):
    wrong = SIGNED[:position] + ("0" if SIGNED[position] != "0" else "1") + SIGNED[position + 1 :]
    assert verify(BODY, f"t={NOW},v1={wrong}", [SECRET], NOW) == MISMATCH


BODIES = {
    "empty": b"",
    "CRLF": b'{\r\n"a": 1\r\n}\r\n',
    "NUL": b"\x00" * 10,
    "byte order mark": b"\xef\xbb\xbf{}",
    "1 MiB": b"x" * (1 << 20),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_the_body_is_verified_byte_by_byte(body):
    header = sign(body, SECRET, NOW)
    assert verify(body, header, [SECRET], NOW) == OK == stripes_verdict(body, header, SECRET)
    assert verify(body + b"\n", header, [SECRET], NOW) == MISMATCH


def test_a_body_that_is_not_utf8_is_verified_as_the_bytes_it_is():
    body = b'{"name": "\xff\xfe"}'
    assert verify(body, sign(body, SECRET, NOW), [SECRET], NOW) == OK
    assert verify(body, f"t={NOW},v1={SIGNED}", [SECRET], NOW) == MISMATCH


@pytest.mark.parametrize(
    ("age", "verdict"), [(0, OK), (300, OK), (301, TOO_OLD), (-300, OK), (-301, TOO_NEW), (10**9, TOO_OLD)]
)
def test_age_is_bounded_on_both_sides(age, verdict):
    assert verify(BODY, sign(BODY, SECRET, NOW - age), [SECRET], NOW) == verdict


def test_tolerance_is_in_seconds_and_cannot_be_switched_off():
    header = sign(BODY, SECRET, NOW - 11)
    assert verify(BODY, header, [SECRET], NOW, 11) == OK
    assert verify(BODY, header, [SECRET], NOW, tolerance=10) == TOO_OLD
    for tolerance in (0, -1):
        with pytest.raises(ValueError, match="tolerance"):
            verify(BODY, header, [SECRET], NOW, tolerance)


def test_age_is_only_told_of_a_genuine_signature():
    assert verify(BODY, f"t={NOW - 5000},v1={SIGNED}", [SECRET], NOW) == MISMATCH


@pytest.mark.parametrize("timestamp", [10**18, 10**30, -(10**30), 2**63, -(2**63), 2**64 + NOW])
def test_a_genuine_absurd_timestamp_is_refused(timestamp):
    header = f"t={timestamp},v1={hex_of(timestamp)}"
    assert verify(BODY, header, [SECRET], NOW) == (TOO_NEW if timestamp > NOW else TOO_OLD)
    assert verify(BODY, header, [SECRET], 2**63 - 301) in (TOO_NEW, TOO_OLD)


def test_a_window_at_the_end_of_time_does_not_wrap():
    for now in (2**63 - 1, -(2**63)):
        assert verify(BODY, f"t={NOW},v1={SIGNED}", [SECRET], now, 2**63 - 1) in (OK, TOO_OLD, TOO_NEW)
    assert verify(BODY, f"t={NOW},v1={SIGNED}", [SECRET], 2**63 - 1) == TOO_OLD
    assert verify(BODY, f"t={NOW},v1={SIGNED}", [SECRET], -(2**63)) == TOO_NEW


def test_any_v1_may_match_any_secret():
    header = f"t={NOW},v0={'f' * 64},v1={'0' * 64},v1={SIGNED},v1={'1' * 64}"
    assert verify(BODY, header, [OTHER, b"", SECRET], NOW) == OK
    assert verify(BODY, header, (SECRET,), NOW) == OK
    assert verify(BODY, header, [OTHER], NOW) == MISMATCH
    assert verify(BODY, header, [], NOW) == MISMATCH
    assert verify(BODY, header, [b""], NOW) == MISMATCH


def test_a_signature_under_the_empty_key_is_never_accepted():
    forged = f"t={NOW},v1={hex_of(NOW, secret=b'')}"
    assert verify(BODY, forged, [b""], NOW) == MISMATCH
    assert verify(BODY, f"t={NOW},v1={hex_of(NOW, secret=b' ')}", [b" "], NOW) == MISMATCH


@pytest.mark.parametrize("header", [None, "", b""])
def test_no_header_is_missing(header):
    assert verify(BODY, header, [SECRET], NOW) == MISSING


@pytest.mark.parametrize(
    "header", ["x", ",", "=", f"t={NOW}", f"v1={SIGNED}", f"t=,v1={SIGNED}", f"t={NOW},v0={SIGNED}", f"t={NOW}, v1=a"]
)
def test_a_header_without_its_parts_is_malformed(header):
    assert verify(BODY, header, [SECRET], NOW) == MALFORMED == stripes_verdict(BODY, header, SECRET)


def test_a_foreign_v1_that_is_not_ascii_does_not_spoil_a_good_one():
    assert verify(BODY, f"t={NOW},v1=é,v1={SIGNED}", [SECRET], NOW) == OK
    assert verify(BODY, f"t={NOW},v1=\ud800,v1={SIGNED}", [SECRET], NOW) == OK


def test_wrong_types_are_named():
    header = f"t={NOW},v1={SIGNED}"
    for arguments in (
        (BODY.decode(), header, [SECRET], NOW),
        (bytearray(BODY), header, [SECRET], NOW),
        (BODY, 5, [SECRET], NOW),
        (BODY, header, [SECRET.decode()], NOW),
        (BODY, header, None, NOW),
        (BODY, header, [SECRET], None),
    ):
        with pytest.raises(TypeError):
            verify(*arguments)


def test_the_digest_is_not_our_own():
    with mock.patch.object(hmac, "digest", side_effect=AssertionError):
        assert signature.verify(BODY, f"t={NOW},v1={SIGNED}", [SECRET], NOW) == OK
    assert sign(BODY, SECRET, NOW).partition("v1=")[2] == hex_of(NOW)
