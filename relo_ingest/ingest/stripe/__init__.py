"""Stripe's webhooks, from the request to the row.

1. ``webhook``   the request: client, signature, answer; 200 only when the row is on disk
2. ``payloads``  what is read of Stripe's objects, in the shapes of every API version
3. ``rows``      what each event means: one function per kind, one row per event
"""

from relo_ingest.ingest.stripe.payloads import StripeEvent, decode_event
from relo_ingest.ingest.stripe.rows import ROWS, to_event
from relo_ingest.ingest.stripe.webhook import post_for_client, post_for_environment

__all__ = ["ROWS", "StripeEvent", "decode_event", "post_for_client", "post_for_environment", "to_event"]
