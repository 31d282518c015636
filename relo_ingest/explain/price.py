"""What a rule makes of a payment, where the ledger does not tell it: the arithmetic of worker/steps/commission.sql."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from relo_ingest.explain.facts import Line, Payment, Price, Reason, Rule

RATE_DECIMALS = 10


class Arithmetic(msgspec.Struct, frozen=True):
    """From what was paid to the amount that is earned. ``told`` is as the worker writes it beside a line; ``rate`` and
    ``rule_rate`` lead from the sale's and from the rule's currency to ``currency``."""

    rule: str
    currency: str
    rate: Decimal
    rule_rate: Decimal
    told: Reason


def of_line(line: Line) -> Arithmetic:
    return Arithmetic(line.rule, line.currency, line.rate, line.rule_rate, line.told())


def of_payment(payment: Payment, rule: Rule, price: Price) -> Arithmetic | None:
    """None: a rate is missing that the rule needs."""
    rate = _rate(payment.currency, price.sale_rate, price)
    rule_rate = _rate(rule.currency or price.paid_in, price.rule_rate, price)
    if not rule_rate or not (rate or rule.is_fixed):
        return None
    after, share, fixed = price.step if price.step[0] else (0, rule.basis_points, rule.fixed)
    base = max(payment.revenue - payment.tax - payment.shipping, Decimal(0)) if rule.net else payment.revenue
    unbounded = fixed * rule_rate if rule.is_fixed else base * share / 10_000 * rate
    counted = payment.currency if price.by_revenue else "sales"
    told = {
        "base": str(base),
        "basis_points": "" if rule.is_fixed else str(share),
        "fixed": f"{fixed} {rule.currency}" if rule.is_fixed else "",
        "tier": f"after {after} {counted}" if after else "",
        "exact": str(min(max(unbounded, rule.minimum * rule_rate), rule.maximum * rule_rate)),
    }
    return Arithmetic(rule.rule, price.paid_in, rate, rule_rate, told)


def _rate(currency: str, of_day: Decimal, price: Price) -> Decimal:
    """From a currency to the one that the partner is paid in; 0 where there is none."""
    if currency == price.paid_in:
        return Decimal(1)
    return round(price.entry_rate / of_day, RATE_DECIMALS) if of_day and price.entry_rate else Decimal(0)
