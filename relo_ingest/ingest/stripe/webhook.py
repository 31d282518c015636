"""``/postback/stripe``: the HTTP side of a webhook. 200 only when the payment's row is on disk."""

from __future__ import annotations

import time

import msgspec

from relo_ingest._fast import signature
from relo_ingest.errors import (
    BAD_SIGNATURE,
    INVALID_PAYLOAD,
    MISSING_SIGNATURE,
    NOT_READY,
    STALE_SIGNATURE,
    UNKNOWN_CLIENT,
    RequestRefused,
)
from relo_ingest.ingest.http import JSON_TYPE, NO_STORE, UNREADABLE, Receive, Scope, Send, header, respond
from relo_ingest.ingest.services import Services
from relo_ingest.ingest.stripe.payloads import StripeEvent, decode_event, decode_thin
from relo_ingest.ingest.stripe.rows import to_event
from relo_ingest.outcomes import PAYMENT_IGNORED, PAYMENT_STORED, PAYMENT_UNSUPPORTED, Outcome
from relo_ingest.registry.snapshot import ENVIRONMENT_CLIENT, Client

MAX_BODY = 1 << 20
SIGNATURE_HEADER = b"stripe-signature"
SLUG_AT = len("/postback/stripe/")
THIN = "v2.core.event"

JSON_HEADERS = (JSON_TYPE, NO_STORE)
STORED = b'{"received":true,"stored":true}'
NOT_STORED = b'{"received":true,"stored":false}'


async def post_for_client(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The webhook of the client whose slug ends the path."""
    snapshot = services.registry.snapshot
    if not snapshot.version:
        raise RequestRefused(NOT_READY)
    client = snapshot.slugs.get(scope["path"][SLUG_AT:])
    if client is None:
        raise RequestRefused(UNKNOWN_CLIENT)
    return await _post(services, client, scope, receive, send)


async def post_for_environment(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The webhook of the one client whose secret is STRIPE_WEBHOOK_SECRET; without it every request is refused."""
    secret = services.settings.stripe_webhook_secret
    if not secret:
        raise RequestRefused(BAD_SIGNATURE, "STRIPE_WEBHOOK_SECRET is not set here.")
    client = services.registry.snapshot.clients.get(ENVIRONMENT_CLIENT)
    if client is None:
        raise RequestRefused(NOT_READY)
    only = Client(client.client_id, client.slug, (secret.encode(),))
    return await _post(services, only, scope, receive, send)


async def _post(services: Services, client: Client, scope: Scope, receive: Receive, send: Send) -> Outcome:
    body = await services.in_flight.read_body(receive, MAX_BODY, header(scope, b"content-length"))
    signed, now_s = header(scope, SIGNATURE_HEADER), int(time.time())
    _check_signature(body, signed, client.secrets_at(now_s), now_s)
    try:
        envelope = _decode(body)
        if client.limits and envelope is not None:
            _check_mode(body, signed, client, envelope.livemode, now_s)
        event = to_event(envelope, client.client_id, time.time_ns() // 1_000_000) if envelope is not None else None
    except (*UNREADABLE, OverflowError) as error:
        raise RequestRefused(INVALID_PAYLOAD, f"({type(error).__name__})") from None
    if event is None:
        await respond(send, 200, JSON_HEADERS, NOT_STORED)
        return PAYMENT_UNSUPPORTED if envelope is None else PAYMENT_IGNORED
    if event.email_hash:
        event.device_id = await services.identity.device_of(client.client_id, event.email_hash)
    await services.spool.append_durably(event)
    services.counts.events += 1
    await respond(send, 200, JSON_HEADERS, STORED)
    return PAYMENT_STORED


def _decode(body: bytes) -> StripeEvent | None:
    """The envelope, or None for a thin event. Raises msgspec's errors."""
    try:
        envelope = decode_event(body)
    except msgspec.ValidationError:
        if decode_thin(body).object != THIN:
            raise
        return None
    return envelope if envelope.object != THIN else None


def _check_signature(body: bytes, signed: bytes, secrets: tuple[bytes, ...], now_s: int) -> None:
    verdict = signature.verify(body, signed, secrets, now_s)
    if verdict == signature.OK:
        return
    if verdict == signature.MISSING:
        raise RequestRefused(MISSING_SIGNATURE)
    if verdict in (signature.TOO_OLD, signature.TOO_NEW):
        raise RequestRefused(STALE_SIGNATURE)
    raise RequestRefused(BAD_SIGNATURE)


def _check_mode(body: bytes, signed: bytes, client: Client, livemode: bool, now_s: int) -> None:
    """A secret of test mode vouches for no live event, nor the other way round."""
    if signature.verify(body, signed, client.secrets_at(now_s, livemode), now_s) != signature.OK:
        raise RequestRefused(
            BAD_SIGNATURE, "It is a secret of test mode." if livemode else "It is a secret of live mode."
        )
