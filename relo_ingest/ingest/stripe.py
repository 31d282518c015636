"""``/postback/stripe``: webhooks. 200 only when the payment's row is on disk.

Payloads: https://docs.stripe.com/api/events/object and …/api/checkout/sessions/object; what each event means is in
the table of the integration guide.
"""

from __future__ import annotations

import time

import msgspec

from relo_ingest._fast import digest, signature
from relo_ingest.errors import (
    BAD_SIGNATURE,
    INVALID_PAYLOAD,
    MISSING_SIGNATURE,
    NOT_READY,
    STALE_SIGNATURE,
    UNKNOWN_CLIENT,
    RequestRefused,
)
from relo_ingest.events import Event
from relo_ingest.ingest.http import UNREADABLE, Receive, Scope, Send, header, respond_json
from relo_ingest.ingest.services import Services
from relo_ingest.money import scaled_from_minor
from relo_ingest.outcomes import PAYMENT_IGNORED, PAYMENT_STORED, Outcome
from relo_ingest.registry.snapshot import ENVIRONMENT_CLIENT, Client

MAX_BODY = 1 << 20
SIGNATURE_HEADER = b"stripe-signature"
SLUG_AT = len("/postback/stripe/")


class _Id(msgspec.Struct):
    """An object that Stripe expanded in place of its id."""

    id: str


class _Data(msgspec.Struct):
    object: msgspec.Raw


class StripeEvent(msgspec.Struct):
    id: str
    type: str
    created: int
    data: _Data
    livemode: bool = False


class _CustomerDetails(msgspec.Struct):
    email: str | None = None


class CheckoutSession(msgspec.Struct):
    """https://docs.stripe.com/api/checkout/sessions/object: only what is read here."""

    id: str
    payment_status: str
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    customer: str | _Id | None = None
    customer_details: _CustomerDetails | None = None
    customer_email: str | None = None
    invoice: str | _Id | None = None
    payment_intent: str | _Id | None = None
    subscription: str | _Id | None = None
    metadata: dict[str, str] | None = None
    mode: str = ""


_decode_event = msgspec.json.Decoder(StripeEvent).decode
_decode_session = msgspec.json.Decoder(CheckoutSession).decode


async def post_for_client(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The webhook of the client whose slug ends the path."""
    snapshot = services.registry.snapshot
    if not snapshot.version:
        raise RequestRefused(NOT_READY)
    client = snapshot.slugs.get(scope["path"][SLUG_AT:])
    if client is None:
        raise RequestRefused(UNKNOWN_CLIENT)
    return await _post(services, client, client.stripe_secrets, scope, receive, send)


async def post_for_environment(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """The webhook of the one client whose secret is STRIPE_WEBHOOK_SECRET; without it every request is refused."""
    secret = services.settings.stripe_webhook_secret
    if not secret:
        raise RequestRefused(BAD_SIGNATURE, "STRIPE_WEBHOOK_SECRET is not set here.")
    client = services.registry.snapshot.clients.get(ENVIRONMENT_CLIENT)
    if client is None:
        raise RequestRefused(NOT_READY)
    return await _post(services, client, (secret.encode(),), scope, receive, send)


async def _post(
    services: Services, client: Client, secrets: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send
) -> Outcome:
    body = await services.in_flight.read_body(receive, MAX_BODY)
    _check_signature(body, header(scope, SIGNATURE_HEADER), secrets)
    try:
        envelope = _decode_event(body)
        event = to_event(envelope, client.client_id, time.time_ns() // 1_000_000)
    except (*UNREADABLE, OverflowError) as error:
        raise RequestRefused(INVALID_PAYLOAD, f"({type(error).__name__})") from None
    if event is None:
        await respond_json(send, 200, {"received": True, "stored": False})
        return PAYMENT_IGNORED
    if event.email_hash:
        event.device_id = await services.identity.device_of(client.client_id, event.email_hash)
    await services.spool.append_durably(event)
    services.counts.events += 1
    await respond_json(send, 200, {"received": True, "stored": True})
    return PAYMENT_STORED


def _check_signature(body: bytes, signed: bytes, secrets: tuple[bytes, ...]) -> None:
    verdict = signature.verify(body, signed, secrets, int(time.time()))
    if verdict == signature.OK:
        return
    if verdict == signature.MISSING:
        raise RequestRefused(MISSING_SIGNATURE)
    if verdict in (signature.TOO_OLD, signature.TOO_NEW):
        raise RequestRefused(STALE_SIGNATURE)
    raise RequestRefused(BAD_SIGNATURE)


def to_event(envelope: StripeEvent, client_id: int, received_at: int) -> Event | None:
    """The row of a Stripe event, or None for a type that is not stored.

    Raises msgspec.DecodeError when the object is not what its type says, OverflowError for an absurd amount.
    """
    if envelope.type != "checkout.session.completed":
        return None
    session = _decode_session(envelope.data.object)
    metadata = session.metadata or {}
    invoice, intent = _id(session.invoice), _id(session.payment_intent)
    paid = session.payment_status != "unpaid"
    email = (session.customer_details and session.customer_details.email) or session.customer_email or ""
    currency = (session.currency or "").upper()
    return Event(
        event_id=envelope.id,
        client_id=client_id,
        event_time=envelope.created * 1000,
        received_at=received_at,
        event_type="purchase" if paid else "custom",
        event_name="purchase" if paid else "purchase_pending",
        channel="stripe",
        media_source="stripe",
        is_test=not envelope.livemode,
        click_id=metadata.get("relo_click_id") or session.client_reference_id or "",
        order_id=session.id,
        # The invoice or payment intent is what later reports of the same payment name.
        conversion_key=(invoice or intent or session.id) if paid else "",
        refs=tuple(ref for ref in (session.id, invoice, intent) if ref),
        revenue=scaled_from_minor(session.amount_total or 0, currency) if paid else 0,
        currency=currency,
        email_hash=digest.email_hash(email),
        customer_ref=_id(session.customer),
        properties=msgspec.json.encode(
            {"mode": session.mode, "payment_status": session.payment_status, "subscription": _id(session.subscription)}
        ),
    )


def _id(reference: str | _Id | None) -> str:
    if reference is None:
        return ""
    return reference if isinstance(reference, str) else reference.id
