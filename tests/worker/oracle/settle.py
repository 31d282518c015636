"""The whole answer about one world."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

from worker.oracle.attribution import Attribution, Sightings
from worker.oracle.commission import Commissions
from worker.oracle.conversions import Book
from worker.oracle.facts import Registry, World


@dataclass(frozen=True)
class Answer:
    attributions: dict[str, tuple[str, str, str, str, str]]
    """conversion key → (payment, method, partner, offer, click id)"""
    ledger: dict[tuple[str, str, str], tuple[Decimal, Decimal]]
    """(conversion key, partner, currency) → the sums of its lines, (earned, reversed), the second 0 or less; where
    both are 0 it is not listed."""
    hold_until: dict[tuple[str, str, str], int] = field(default_factory=dict, compare=False)
    """The same lines → when they are due."""


def settle(world: World) -> Answer:
    registry = Registry(world.versions)
    book = Book(world.events)
    conversions = book.conversions
    reviews = [replace(review, conversion_key=book.home(review.conversion_key)) for review in world.reviews]
    attribution = Attribution(world.slug, registry, Sightings(world.events), conversions)
    winners = {c.key: (c, won) for c in conversions if (won := attribution.winner(c))}
    commissions = Commissions(world.slug, registry, world.rates, reviews, attribution, winners)
    answer = Answer({}, {})
    for c in conversions:
        payment = attribution.payment(c)
        if c.key not in winners:
            answer.attributions[c.key] = (payment, "none", "", "", "")
            continue
        _, won = winners[c.key]
        answer.attributions[c.key] = (payment, won.method, won.partner_ref, won.offer, won.click_id)
        commission = commissions.of(c, won)
        if commission is not None:
            whose = c.key, won.partner_ref, commission.currency
            answer.ledger[whose] = commission.earned, -commission.reversed
            answer.hold_until[whose] = commission.hold_until
    return answer
