"""The oracle with one rule changed, for tests of the tests.

A world in which such a change gives another answer is one in which a situation occurs and matters.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

from worker.oracle.facts import World
from worker.oracle.settle import Answer

ORACLE = Path(__file__).with_name("oracle")
FILES = ("facts", "conversions", "attribution", "commission", "settle")
"""In the order in which they import each other."""

SITUATIONS = {
    # Conversions
    "a test event": ("conversions", "return not conversion.is_test", "return True"),
    "keys that merge late": ("conversions", "while key in self._roads:", "while False:"),
    "a session and its invoice": ("conversions", "for r in sales or reports", "for r in reports"),
    "a lead of a bot": ("conversions", 'e.event_type == "lead" and e.is_bot', "False"),
    "a lead with a value": ("conversions", 'if e.event_type == "lead":', "if False:"),
    "refunds that add up": ("conversions", "sum(of_refunds, Decimal(0))", "max(of_refunds, default=Decimal(0))"),
    "refunds told by their charge": ("conversions", "max(told, charges.get(charge, told))", "min(told, charges.get(charge, told))"),
    "a refund that failed": ("conversions", "if refund not in failed", "if True"),
    "a dispute that was lost": ("conversions", 'if away or back:', "if back:"),
    "a dispute that was won": ("conversions", "if away or back:", "if away:"),
    "a subscription that started for nothing": ("conversions", "if started_free and", "if False and"),
    "an upgrade that is invoiced": ("conversions", 'return "renewal" if later else', 'return "purchase" if later else'),
    "evidence of the session before that of its invoice": ("conversions", "r.event_name in INVOICES, r.event_time", "r.event_name not in INVOICES, r.event_time"),
    # Evidence
    "two devices with one address": ("attribution", "found.update(_earliest(self._seen.devices_of_address, c.email_hash, c, DEVICES_PER_ADDRESS))\n        if", "pass\n        if"),
    "a device that two people share": ("attribution", "dict.fromkeys(self._clicks_of(device, c), CONNECTED)", "{}"),
    "a click id that leads to a device": ("attribution", "set(_known(self._seen.devices_of_click, c.click_id, c))", "set()"),
    "a device that the sale names": ("attribution", "if c.device_id:", "if False:"),
    "seen 72 hours later": ("attribution", "seen <= c.at + LATE", "seen < c.at + LATE"),
    "seen later than that": ("attribution", "seen <= c.at + LATE", "seen <= c.at + LATE + 1"),
    "more addresses than are looked at": ("attribution", "ADDRESSES_PER_DEVICE, CLICKS_PER_DEVICE = 20, 5, 200", "ADDRESSES_PER_DEVICE, CLICKS_PER_DEVICE = 20, 6, 200"),
    "more devices than are looked at": ("attribution", "CLICKS_PER_DEVICE = 20, 5, 200", "CLICKS_PER_DEVICE = 21, 5, 200"),
    "more clicks than are looked at": ("attribution", "CLICKS_PER_DEVICE = 20, 5, 200", "CLICKS_PER_DEVICE = 20, 5, 201"),
    "a click reached in two ways": ("attribution", "            found[c.click_id] = NAMED", "            found.setdefault(c.click_id, NAMED)"),
    # Candidates
    "a click at the edge of the window": ("attribution", "c.at - days * DAY <= click.at <=", "c.at - days * DAY < click.at <="),
    "a click just before the window": ("attribution", "c.at - days * DAY <= click.at <=", "c.at - days * DAY - 1 <= click.at <="),
    "another window for devices": ("attribution", "and offer.device_window_days is not None", "and False"),
    "clock skew of five minutes": ("attribution", "<= c.at + SKEW", "< c.at + SKEW"),
    "clock skew of more": ("attribution", "<= c.at + SKEW", "<= c.at + SKEW + 1"),
    "a paused partner": ("facts", 'if found is not None and found.status == "active" else None', ""),
    "a partner of another client, a click without one": ("attribution", "or not self._partner(click.partner_ref, c)", ""),
    "an offer that is not registered": ("attribution", "        if offer is None:\n            return None\n        days", '        offer = offer or self._offer("main", c)\n        days'),
    "a rule of the day of the sale": ("facts", "v.since <= t", "True"),
    "a rule that changes with the sale": ("facts", "v.since <= t", "v.since < t"),
    "a version that also holds for before": ("facts", "history[0].entry)", "history[-1].entry)"),
    "a promo code in small letters": ("attribution", "{c.promo_code.upper()}", "{c.promo_code}"),
    "a promo code's own offer": ("attribution", "code.offer or partner.offers[0]", "partner.offers[0]"),
    "a promo code without an offer": ("attribution", "code.offer or partner.offers[0]", "code.offer or partner.offers[1]"),
    "a customer who comes back": ("attribution", "return own or customer", "return own"),
    "a customer by subscription before one by name": ("attribution", "(of_subscription or before)[0]", "before[0]"),
    "a customer of several partners": ("attribution", "(of_subscription or before)[0]", "(of_subscription or before)[-1]"),
    "a customer whose partner was paused": ("attribution", "if offer is None or not self._partner(brought.partner_ref, c):", "if offer is None:"),
    "a customer who is remembered no more": ("attribution", "> offer.customer_window_days * DAY", "> 10**15"),
    "a customer on the last day": ("attribution", "> offer.customer_window_days * DAY", ">= offer.customer_window_days * DAY"),
    "a method that the offer does not know": ("attribution", "        if method not in offer.methods:\n            return None\n        return Candidate(method, partner_ref, offer.slug, rank=list(offer.methods).index(method))", "        return Candidate(method, partner_ref, offer.slug, rank=[*offer.methods, method].index(method))"),
    "methods in an order of the offer's own": ("attribution", "rank=list(offer.methods).index(method)", 'rank=["promo_code", "click_id", "device", "customer"].index(method)'),
    # Winners
    "a promo code against a click": ("attribution", "[*touches, promo] if promo else touches", "touches or ([promo] if promo else [])"),
    "a click that is closer": ("attribution", "x.closeness, x.clicked_at, x.click_id))", "x.clicked_at, x.click_id))"),
    "windows that overlap": ("attribution", "x.closeness, x.clicked_at, x.click_id))", "x.closeness, -x.clicked_at, x.click_id))"),
    "clicks at the same time": ("attribution", "x.closeness, x.clicked_at, x.click_id))", "x.closeness, x.clicked_at, -int(x.click_id[1:] or 0)))"),
    "a first click": ("attribution", 'offer.model == "first_click"', "False"),
    "a first click among equals": ("attribution", "key=lambda x: (x.clicked_at, x.click_id))", "key=lambda x: (x.clicked_at, -int(x.click_id[1:])))"),
    "a first click of another offer": ("attribution", "if x.offer == winner.offer)", "if x)"),
    "a renewal": ("attribution", 'self.payment(c) == "renewal" or', ""),
    "a customer before the sale's own click": ("attribution", "or customer.rank < own.rank", ""),
    "a customer of the same rank": ("attribution", "or customer.rank < own.rank", "or customer.rank <= own.rank"),
    "a trial": ("attribution", "if c.revenue == 0:", "if False:"),
    "an invoice of a renewal that is the first payment": ("attribution", "and self.paid_before(c) else", "else"),
    # Commissions
    "a partner's own rule": ("commission", 'rule.partner == "", -milli', "-milli"),
    "the latest of several rules": ("commission", "-milliseconds(rule.valid_from), rule.name", "rule.name"),
    "rules that began together": ("commission", "-milliseconds(rule.valid_from), rule.name", "-milliseconds(rule.valid_from), -int(rule.name[-1])"),
    "a rule that begins with the sale": ("commission", "(rule.valid_from) <= c.at", "(rule.valid_from) < c.at"),
    "a rule that ends with the sale": ("commission", "< milliseconds(rule.valid_to)", "<= milliseconds(rule.valid_to)"),
    "renewals past the month cap": ("commission", "return c.at >= add_months", "return False and add_months"),
    "a renewal as the cap is reached": ("commission", "c.at >= add_months", "c.at > add_months"),
    "a renewal on the day after the cap": ("commission", "rule.renewal_months) + DAY", "rule.renewal_months)"),
    "a month that is too short": ("commission", "when.replace(year=year, month=month + 1, day=day)", "(when.replace(year=year, month=month + 1, day=1) + dt.timedelta(days=when.day - 1))"),
    "a cap of the subscription, not of the customer": ("commission", "(of_subscription or paid)[0].at", "paid[0].at"),
    "tiers": ("commission", "[t for t in rule.tiers if", "[t for t in rule.tiers if False and"),
    "the last of several tiers": ("commission", "of = reached[-1]", "of = reached[0]"),
    "a tier as it is reached": ("commission", "if t.after <= self.volume", "if t.after < self.volume"),
    "tiers by revenue": ("commission", 'if rule.tier_by == "sales":', "if True:"),
    "tiers of another month": ("commission", "and _month(other.at) == _month(c.at)", ""),
    "tiers of another partner": ("commission", "if (winner.offer, winner.partner_ref) == (won.offer, won.partner_ref)", "if winner.offer == won.offer"),
    "tiers of another offer": ("commission", "if (winner.offer, winner.partner_ref) == (won.offer, won.partner_ref)", "if winner.partner_ref == won.partner_ref"),
    "tiers that leads do not count for": ("commission", 'in ("first", "renewal")\n', 'in ("first", "renewal", "lead", "trial")\n'),
    "a partner's currency": ("commission", "return partner.currency or (", "return ("),
    "a fixed amount in a currency of its own": ("commission", "(rule.currency if rule.fixed is not None else c.currency)", "c.currency"),
    "no rate for a day": ("commission", "usable[max(usable)] if usable else None", "usable[max(usable)] if usable else Fraction(1)"),
    "a rate that is seven days old": ("commission", "if oldest <= d <= day", "if oldest < d <= day"),
    "a rate that is older": ("commission", "OLDEST_RATE_DAYS = 7", "OLDEST_RATE_DAYS = 8"),
    "a rate of the day": ("commission", "oldest <= d <= day", "oldest <= d < day"),
    "a rate that is rounded": ("commission", "RATE_DIGITS = 10", "RATE_DIGITS = 8"),
    "net of tax and shipping": ("commission", 'if rule.basis == "gross":', "if True:"),
    "net of more than all": ("commission", "max(c.revenue - c.tax - c.shipping, Decimal(0))", "(c.revenue - c.tax - c.shipping)"),
    "a minimum": ("commission", "if rule.minimum:", "if False:"),
    "a maximum": ("commission", "if rule.maximum:", "if False:"),
    "a minimum in another currency": ("commission", "Fraction(rule.minimum) * of_rule", "Fraction(rule.minimum)"),
    "half a minor unit": ("commission", "return round(exact, digits)", "return (exact * 10**digits + Fraction(1, 2)) // 1 / Fraction(10**digits)"),
    "a currency without a minor unit": ("commission", "return 0 if currency in NO_MINOR_UNIT else", "return"),
    "a currency of thousandths": ("commission", "3 if currency in THOUSANDTHS else 2", "2"),
    "a partial dispute": ("commission", "if c.charged_back > 0:\n            return earned", "if c.charged_back > 0:\n            return _rounded(Fraction(earned) * Fraction(c.charged_back) / Fraction(c.revenue), currency)"),
    "a partial refund": ("commission", "if c.refunded >= c.revenue:", "if c.refunded > 0:"),
    "a refund of another ratio than of cents": ("commission", "_rounded(Fraction(earned) * Fraction(c.refunded) / Fraction(c.revenue), currency)", "min(c.refunded, earned)"),
    "a commission that was rejected": ("commission", "if not self._approved.get((c.key, won.partner_ref), True):", "if False:"),
    "a word that was taken back": ("commission", "sorted(reviews, key=lambda r: r.at)", "sorted(reviews, key=lambda r: -r.at)"),
}  # fmt: skip
"""situation → the file of the oracle, a text that stands there once, and what stands there instead."""


def mutant(file: str, old: str, new: str) -> Callable[[World], Answer]:
    """``settle`` of a copy of the oracle, changed in one place."""
    copy = types.ModuleType("mutant")
    sys.modules["mutant"] = copy  # where dataclasses look for the names in annotations
    for name in FILES:
        source = (ORACLE / f"{name}.py").read_text()
        if name == file:
            assert source.count(old) == 1, f"{file} has not exactly one {old!r}"
            source = source.replace(old, new)
        lines = [line for line in source.splitlines() if not line.startswith("from worker.oracle")]
        exec(compile("\n".join(lines), f"{name} with {new!r}", "exec"), copy.__dict__)  # all in one namespace
    del sys.modules["mutant"]
    settled: Callable[[World], Answer] = copy.settle
    return settled
