"""Global Privacy Control and Do Not Track: a visitor's wish, sent with every request, not to be followed.

A client may decide that they do not apply (``privacy_signals = "ignore"``). Otherwise the event counts, and its row
holds nothing that says whose it is: no ids, no address, no user agent, nothing that the page told of the visitor.
"""

from __future__ import annotations

from relo_ingest.events import Event

HEADERS = (b"sec-gpc", b"dnt")


def anonymous(event: Event) -> Event:
    """What is kept: what happened, when, on which page, what it was worth, for which partner."""
    return Event(
        event_id=event.event_id,
        client_id=event.client_id,
        event_time=event.event_time,
        received_at=event.received_at,
        event_type=event.event_type,
        event_name=event.event_name,
        channel=event.channel,
        media_source=event.media_source,
        is_test=event.is_test,
        partner_ref=event.partner_ref,
        offer=event.offer,
        revenue=event.revenue,
        currency=event.currency,
        url=_without_query(event.url),
        referrer=_without_query(event.referrer),
        is_bot=event.is_bot,
        bot_reason=event.bot_reason,
    )


def _without_query(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]
