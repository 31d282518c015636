"""The demo shop: the landing page of the shipped offer, with the pixel installed as the guide says."""

from __future__ import annotations

from importlib import resources

from relo_ingest.ingest.http import NO_STORE, Receive, Scope, Send, respond
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import CONTENT_SERVED, Outcome

DEMO = (resources.files("relo_ingest.pixel") / "demo.html").read_bytes()


async def get_demo(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    await respond(send, 200, [(b"content-type", b"text/html; charset=utf-8"), NO_STORE], DEMO)
    return CONTENT_SERVED
