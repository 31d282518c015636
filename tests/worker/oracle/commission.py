"""What a sale earns for its partner, and what of that is taken back."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from relo_ingest.registry.model import CommissionRule, Offer, Partner
from worker.oracle.attribution import Attribution, Candidate
from worker.oracle.conversions import Conversion
from worker.oracle.facts import DAY, Rates, Registry, Review, milliseconds, moment

NO_MINOR_UNIT = "BIF CLP DJF GNF ISK JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF"
THOUSANDTHS = "BHD JOD KWD OMR TND"
RATE_DIGITS = 10
OLDEST_RATE_DAYS = 7


@dataclass(frozen=True)
class Commission:
    currency: str
    earned: Decimal
    reversed: Decimal
    """0 or more; its lines are negative."""
    hold_until: int


class Commissions:
    def __init__(
        self,
        slug: str,
        registry: Registry,
        rates: Rates,
        reviews: Sequence[Review],
        attribution: Attribution,
        winners: Mapping[str, tuple[Conversion, Candidate]],
    ) -> None:
        """``winners``: the conversions that belong to somebody, by key."""
        self._slug = slug
        self._registry = registry
        self._rates = rates
        self._attribution = attribution
        self._winners = winners
        self._approved = {(r.conversion_key, r.partner_ref): r.approved for r in sorted(reviews, key=lambda r: r.at)}

    def of(self, c: Conversion, won: Candidate) -> Commission | None:
        """None when nothing is earned, or there is no rate yet to say how much."""
        partner = self._registry.active_partner(won.partner_ref, c.at)
        offer = self._registry.offer(f"{self._slug}/{won.offer}", c.at)
        rule = self.rule(c, won)
        assert partner is not None
        assert offer is not None
        if rule is None or self._renews_no_more(rule, c):
            return None
        currency = self._currency(partner, rule, c)
        if not self._approved.get((c.key, won.partner_ref), True):
            return None
        exact = self._exact(rule, c, won, currency)
        if exact is None:
            return None
        earned = _rounded(exact, currency)
        if earned == 0:
            return None
        return Commission(currency, earned, self._reversed(c, earned, currency), self._hold_until(c, offer))

    def rule(self, c: Conversion, won: Candidate) -> CommissionRule | None:
        payment = self._attribution.payment(c)
        in_force = [
            rule
            for rule in self._registry.commission_rules(c.at)
            if rule.offer == won.offer
            and rule.partner in ("", won.partner_ref)
            and payment in rule.applies_to
            and milliseconds(rule.valid_from) <= c.at < milliseconds(rule.valid_to)
        ]
        return min(in_force, key=_precedence, default=None)

    def _renews_no_more(self, rule: CommissionRule, c: Conversion) -> bool:
        if self._attribution.payment(c) != "renewal" or rule.renewal_months is None:
            return False
        return c.at >= add_months(self._began(c), rule.renewal_months) + DAY

    def _began(self, c: Conversion) -> int:
        """When the subscription was first paid for; of a renewal that is alone in it, when the customer first paid."""
        paid = self._attribution.paid_before(c)
        of_subscription = [r for r in paid if c.subscription and r.subscription == c.subscription]
        return (of_subscription or paid)[0].at

    def volume_before(self, c: Conversion, won: Candidate, rule: CommissionRule) -> Decimal:
        """The partner's sales of the month before this one, in number or in money."""
        sales = [
            other
            for other, winner in self._winners.values()
            if (winner.offer, winner.partner_ref) == (won.offer, won.partner_ref)
            and self._attribution.payment(other) in ("first", "renewal")
            and _month(other.at) == _month(c.at)
            and other.place < c.place
        ]
        if rule.tier_by == "sales":
            return Decimal(len(sales))
        return sum((s.revenue for s in sales if s.currency == c.currency), Decimal(0))

    def _share(self, c: Conversion, won: Candidate, rule: CommissionRule) -> tuple[int | None, str | None]:
        """(basis points, fixed), one of them None, as the volume has it."""
        reached = [t for t in rule.tiers if t.after <= self.volume_before(c, won, rule)]
        of = reached[-1] if reached else rule
        return of.basis_points, of.fixed

    @staticmethod
    def _currency(partner: Partner, rule: CommissionRule, c: Conversion) -> str:
        return partner.currency or (rule.currency if rule.fixed is not None else c.currency)

    def _exact(self, rule: CommissionRule, c: Conversion, won: Candidate, currency: str) -> Fraction | None:
        basis_points, fixed = self._share(c, won, rule)
        of_sale = self.rate(c.currency, currency, c.at) if fixed is None else Fraction(1)
        bounded = fixed is not None or rule.minimum or rule.maximum
        of_rule = self.rate(rule.currency, currency, c.at) if bounded else Fraction(1)
        if of_sale is None or of_rule is None:
            return None
        if fixed is not None:
            exact = Fraction(fixed) * of_rule
        else:
            assert basis_points is not None
            exact = Fraction(self._base(rule, c)) * Fraction(basis_points, 10_000) * of_sale
        if rule.minimum:
            exact = max(exact, Fraction(rule.minimum) * of_rule)
        if rule.maximum:
            exact = min(exact, Fraction(rule.maximum) * of_rule)
        return exact

    @staticmethod
    def _base(rule: CommissionRule, c: Conversion) -> Decimal:
        if rule.basis == "gross":
            return c.revenue
        return max(c.revenue - c.tax - c.shipping, Decimal(0))

    def rate(self, a: str, b: str, t: int) -> Fraction | None:
        """Units of b for one of a; None when there is none."""
        if a == b:
            return Fraction(1)
        of_a, of_b = self._of_day(a, t), self._of_day(b, t)
        if of_a is None or of_b is None:
            return None
        return _half_even(of_b / of_a, RATE_DIGITS)

    def _of_day(self, currency: str, t: int) -> Fraction | None:
        day = moment(t).date()
        oldest = day - dt.timedelta(days=OLDEST_RATE_DAYS)
        usable = {d: rate for d, rate in self._rates.get(currency, {}).items() if oldest <= d <= day}
        return usable[max(usable)] if usable else None

    @staticmethod
    def _reversed(c: Conversion, earned: Decimal, currency: str) -> Decimal:
        if c.charged_back > 0:
            return earned
        if c.revenue == 0:
            return Decimal(0)
        if c.refunded >= c.revenue:
            return earned
        return _rounded(Fraction(earned) * Fraction(c.refunded) / Fraction(c.revenue), currency)

    @staticmethod
    def _hold_until(c: Conversion, offer: Offer) -> int:
        return c.at + offer.hold_days * DAY


def _precedence(rule: CommissionRule) -> tuple[bool, float, str]:
    """The partner's own rule, then the latest, then the first by name."""
    return rule.partner == "", -milliseconds(rule.valid_from), rule.name


def add_months(ms: int, months: int) -> int:
    """The same time of the same day so many months later, or of the last day of a month that is too short."""
    when = moment(ms)
    year, month = divmod(when.year * 12 + when.month - 1 + months, 12)
    day = min(when.day, calendar.monthrange(year, month + 1)[1])
    return milliseconds(when.replace(year=year, month=month + 1, day=day))


def _month(ms: int) -> tuple[int, int]:
    return moment(ms).year, moment(ms).month


def minor_digits(currency: str) -> int:
    return 0 if currency in NO_MINOR_UNIT else 3 if currency in THOUSANDTHS else 2


def _rounded(exact: Fraction, currency: str) -> Decimal:
    digits = minor_digits(currency)
    return Decimal(int(_half_even(exact, digits) * 10**digits)).scaleb(-digits)


def _half_even(exact: Fraction, digits: int) -> Fraction:
    return round(exact, digits)  # of a Fraction: exact, and to the even neighbour
