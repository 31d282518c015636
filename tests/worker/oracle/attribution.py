"""Whose a sale is: the evidence of it, the candidates, and the one that wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from relo_ingest.registry.model import Offer, Partner
from worker.oracle.conversions import Conversion
from worker.oracle.facts import DAY, HOUR, MINUTE, Event, Registry

LATE = 72 * HOUR
"""What was seen later than this after a sale is no evidence of it."""
SKEW = 5 * MINUTE
"""A click may be stamped so much later than its sale: clocks differ."""
DEVICES_PER_ADDRESS, ADDRESSES_PER_DEVICE, CLICKS_PER_DEVICE = 20, 5, 200

TYPED, NAMED, DIRECT, CONNECTED = 4, 3, 2, 1
"""How close a candidate is: the customer typed the partner's code; the sale names the click; a device of the sale had
it; a device that shares an address with such a one."""


@dataclass(frozen=True)
class Click:
    click_id: str
    at: int
    partner_ref: str
    offer: str


@dataclass(frozen=True)
class Candidate:
    method: str
    partner_ref: str
    offer: str
    rank: int
    """The place of the method in the offer's list, 0 first."""
    closeness: int = TYPED
    clicked_at: int = 0
    click_id: str = ""


Pairs = Mapping[str, Mapping[str, int]]
"""id → the ids that it was seen with, and when first."""


class Sightings:
    """Which ids were seen together, in whatever event."""

    def __init__(self, events: Sequence[Event]) -> None:
        clicks = (e for e in events if e.event_type == "click")
        self.clicks = {e.click_id: Click(e.click_id, e.event_time, e.partner_ref, e.offer) for e in clicks}
        self.devices_of_click = _pairs(events, lambda e: (e.click_id, e.device_id))
        self.clicks_of_device = _pairs(events, lambda e: (e.device_id, e.click_id))
        self.devices_of_address = _pairs(events, lambda e: (e.email_hash, e.device_id))
        self.addresses_of_device = _pairs(events, lambda e: (e.device_id, e.email_hash))


def _pairs(events: Sequence[Event], ids: Callable[[Event], tuple[str, str]]) -> Pairs:
    seen: dict[str, dict[str, int]] = {}
    for event in events:
        one, other = ids(event)
        if one and other:
            of_one = seen.setdefault(one, {})
            of_one[other] = min(event.event_time, of_one.get(other, event.event_time))
    return seen


class Attribution:
    def __init__(self, slug: str, registry: Registry, seen: Sightings, conversions: Sequence[Conversion]) -> None:
        """``conversions`` in their order."""
        self._slug = slug
        self._registry = registry
        self._seen = seen
        self._conversions = conversions
        self._own: dict[str, Candidate | None] = {}

    # Evidence

    def direct_devices(self, c: Conversion) -> set[str]:
        found = set(_known(self._seen.devices_of_click, c.click_id, c))
        found.update(_earliest(self._seen.devices_of_address, c.email_hash, c, DEVICES_PER_ADDRESS))
        if c.device_id:
            found.add(c.device_id)
        return found

    def connected_devices(self, c: Conversion) -> set[str]:
        direct, found = self.direct_devices(c), set()
        for device in direct:
            for address in _earliest(self._seen.addresses_of_device, device, c, ADDRESSES_PER_DEVICE):
                found.update(_earliest(self._seen.devices_of_address, address, c, DEVICES_PER_ADDRESS))
        return found - direct

    def touches(self, c: Conversion) -> dict[str, int]:
        """click id → closeness, of ids that may or may not be those of clicks."""
        found: dict[str, int] = {}
        for device in self.connected_devices(c):
            found.update(dict.fromkeys(self._clicks_of(device, c), CONNECTED))
        for device in self.direct_devices(c):
            found.update(dict.fromkeys(self._clicks_of(device, c), DIRECT))
        if c.click_id:
            found[c.click_id] = NAMED
        return found

    def _clicks_of(self, device: str, c: Conversion) -> list[str]:
        known = _known(self._seen.clicks_of_device, device, c)
        return sorted(known, key=lambda click: (known[click], click), reverse=True)[:CLICKS_PER_DEVICE]

    # Candidates

    def valid_touches(self, c: Conversion) -> list[Candidate]:
        touches = self.touches(c).items()
        return [found for click_id, closeness in touches if (found := self._of_click(c, click_id, closeness))]

    def _of_click(self, c: Conversion, click_id: str, closeness: int) -> Candidate | None:
        click = self._seen.clicks.get(click_id)
        if click is None or not self._partner(click.partner_ref, c):
            return None
        offer = self._offer(click.offer, c)
        if offer is None:
            return None
        days = offer.click_window_days
        if closeness != NAMED and offer.device_window_days is not None:
            days = offer.device_window_days
        if not c.at - days * DAY <= click.at <= c.at + SKEW:
            return None
        found = self._candidate("click_id" if closeness == NAMED else "device", click.partner_ref, offer)
        return found and replace(found, closeness=closeness, clicked_at=click.at, click_id=click_id)

    def of_promo_code(self, c: Conversion) -> Candidate | None:
        code = c.promo_code and self._registry.promo_code(f"{self._slug}/{c.promo_code.upper()}", c.at)
        partner = code and self._partner(code.partner, c)
        if not code or not partner:
            return None
        offer = self._offer(code.offer or partner.offers[0], c)
        return self._candidate("promo_code", code.partner, offer) if offer else None

    def of_customer(self, c: Conversion) -> Candidate | None:
        """The partner that brought the customer, as long as it is remembered: by a payment that was this partner's own."""
        before = [r for r in self._conversions if r.is_relative_of(c) and r.place < c.place and self.own_winner(r)]
        before = [r for r in before if self.winner(r) is self.own_winner(r)]
        of_subscription = [r for r in before if c.subscription and r.subscription == c.subscription]
        if not before:
            return None
        first = (of_subscription or before)[0]
        brought = self.own_winner(first)
        assert brought is not None
        offer = self._offer(brought.offer, c)
        if offer is None or not self._partner(brought.partner_ref, c):
            return None
        if offer.customer_window_days is not None and c.at - first.at > offer.customer_window_days * DAY:
            return None
        return self._candidate("customer", brought.partner_ref, offer)

    def _partner(self, ref: str, c: Conversion) -> Partner | None:
        return self._registry.active_partner(ref, c.at)

    def _offer(self, slug: str, c: Conversion) -> Offer | None:
        return self._registry.offer(f"{self._slug}/{slug}", c.at)

    def _candidate(self, method: str, partner_ref: str, offer: Offer) -> Candidate | None:
        """None when the offer does not know the method."""
        if method not in offer.methods:
            return None
        return Candidate(method, partner_ref, offer.slug, rank=list(offer.methods).index(method))

    # Winners

    def own_winner(self, c: Conversion) -> Candidate | None:
        """Without the customer's history."""
        if c.key not in self._own:
            self._own[c.key] = self._find_own_winner(c)
        return self._own[c.key]

    def _find_own_winner(self, c: Conversion) -> Candidate | None:
        touches, promo = self.valid_touches(c), self.of_promo_code(c)
        candidates = [*touches, promo] if promo else touches
        if not candidates:
            return None
        winner = max(candidates, key=lambda x: (-x.rank, x.closeness, x.clicked_at, x.click_id))
        offer = self._offer(winner.offer, c)
        if winner.method != "promo_code" and offer is not None and offer.model == "first_click":
            return min((x for x in touches if x.offer == winner.offer), key=lambda x: (x.clicked_at, x.click_id))
        return winner

    def winner(self, c: Conversion) -> Candidate | None:
        own, customer = self.own_winner(c), self.of_customer(c)
        if own is None or customer is None:
            return own or customer
        customer_first = self.payment(c) == "renewal" or customer.rank < own.rank
        return customer if customer_first else own

    def payment(self, c: Conversion) -> str:
        """What is paid for: first, renewal, lead, trial."""
        if c.kind == "lead":
            return "lead"
        if c.revenue == 0:
            return "trial"
        return "renewal" if c.kind == "renewal" and self.paid_before(c) else "first"

    def paid_before(self, c: Conversion) -> list[Conversion]:
        """The relatives that paid before it, in order."""
        return [r for r in self._conversions if r.is_relative_of(c) and r.place < c.place and r.revenue > 0]


def _known(pairs: Pairs, one: str, c: Conversion) -> dict[str, int]:
    """What an id was seen with by the time that counts for the sale."""
    return {other: seen for other, seen in pairs.get(one, {}).items() if seen <= c.at + LATE}


def _earliest(pairs: Pairs, one: str, c: Conversion, most: int) -> list[str]:
    known = _known(pairs, one, c)
    return sorted(known, key=lambda other: (known[other], other))[:most]
