"""A webhook as Stripe's documentation writes it, on FastAPI: raw body, ``construct_event``, 400 for what is forged.

It checks and parses the same events and stores nothing (https://docs.stripe.com/webhooks#verify-official-libraries).
``python -m bench.peers.fastapi_stripe PORT``
"""

from __future__ import annotations

import sys

import stripe
from fastapi import FastAPI, HTTPException, Request

from bench.harness.events import SECRET

ENDPOINT_SECRET = SECRET.decode()
TOLERANCE_S = 86_400
"""Stripe's default is 300, and a run with many rounds may last longer than that after the events were signed."""

app = FastAPI(openapi_url=None)


@app.post("/postback/stripe/{slug}")
async def post_webhook(slug: str, request: Request) -> dict[str, bool]:
    payload = await request.body()
    try:
        event = stripe.Webhook.construct_event(
            payload, request.headers["stripe-signature"], ENDPOINT_SECRET, tolerance=TOLERANCE_S
        )
    except (ValueError, stripe.SignatureVerificationError):
        raise HTTPException(400) from None
    return {"received": event.type == "checkout.session.completed"}


if __name__ == "__main__":
    from bench.peers.on_uvicorn import serve

    serve("bench.peers.fastapi_stripe:app", int(sys.argv[1]))
