"""Money as integers: Stripe's minor units, and the scale of ``events.revenue``.

Source of the exponents: https://docs.stripe.com/currencies (zero-decimal, three-decimal and special
cases). No float ever holds money.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from relo_ingest.events import SCALE

ZERO_DECIMAL = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
NO_MINOR_UNIT = ZERO_DECIMAL | {"ISK", "UGX"}
"""Currencies without a minor unit. Stripe still sends ISK and UGX multiplied by 100."""

UNIT = Decimal(1) / SCALE
MAX_SCALED = 10**18 - 1
"""Largest magnitude that Decimal(18, 4) holds, in 1/SCALE units."""


def scaled_from_minor(amount: int, currency: str) -> int:
    """Stripe's ``amount`` in ``currency`` (any case) → 1/SCALE of a whole unit.

    >>> scaled_from_minor(1999, "usd"), scaled_from_minor(1999, "JPY"), scaled_from_minor(1999, "kwd")
    (199900, 19990000, 19990)

    Raises OverflowError when the amount does not fit Decimal(18, 4).
    """
    code = currency.upper()
    factor = SCALE if code in ZERO_DECIMAL else SCALE // 1000 if code in THREE_DECIMAL else SCALE // 100
    scaled = amount * factor
    if not -MAX_SCALED <= scaled <= MAX_SCALED:
        raise OverflowError("the amount does not fit Decimal(18, 4)")
    return scaled


def scaled_from_decimal(value: Decimal) -> int:
    """A decimal amount in whole units → 1/SCALE, half-even.

    Raises ValueError for NaN, infinities and amounts that do not fit.
    """
    if not value.is_finite():
        raise ValueError("expected a finite amount")
    if value.adjusted() > 15:  # before any arithmetic: 1e999999 is short to send and long to compute
        raise ValueError("the amount is too large")
    # One rounding, on the value itself: a product would first be rounded to the context's 28 digits.
    scaled = int(value.quantize(UNIT, rounding=ROUND_HALF_EVEN) * SCALE)
    if not -MAX_SCALED <= scaled <= MAX_SCALED:
        raise ValueError("the amount is too large")
    return scaled


def minor_digits(currency: str) -> int:
    """Decimal places of the currency's minor unit: what a commission is rounded to."""
    code = currency.upper()
    return 0 if code in NO_MINOR_UNIT else 3 if code in THREE_DECIMAL else 2
