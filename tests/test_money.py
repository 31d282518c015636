"""Money against Decimal, an oracle that knows no minor units; and the two closed tables a request ends in."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relo_ingest import money
from relo_ingest.events import SCALE
from relo_ingest.money import MAX_SCALED, minor_digits, scaled_from_decimal, scaled_from_minor

# Written out once more from https://docs.stripe.com/currencies: minor units in a whole one, decimals of the currency.
ZERO = ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
THREE = ["BHD", "JOD", "KWD", "OMR", "TND"]
SENT_TIMES_100_WITHOUT_MINOR_UNIT = ["ISK", "UGX"]
USUAL = ["USD", "EUR", "MXN", "BRL", "COP", "IDR", "HUF", "TWD", "GBP", "ARS", "PEN", "CHF", "INR"]
CURRENCIES = (
    [(c, 1, 0) for c in ZERO]
    + [(c, 1000, 3) for c in THREE]
    + [(c, 100, 0) for c in SENT_TIMES_100_WITHOUT_MINOR_UNIT]
    + [(c, 100, 2) for c in USUAL]
)
EXACT = Context(prec=2000, traps=[Inexact], Emax=10**6, Emin=-(10**6))
LARGEST = Decimal(MAX_SCALED).scaleb(-4)


def rounded(value: Decimal, places: int) -> Decimal:
    """Half-even in one step, with as many digits as it takes."""
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN, Context(prec=2000, Emax=10**6, Emin=-(10**6)))


def test_currency_classes_are_those_of_stripe() -> None:
    assert set(ZERO) == money.ZERO_DECIMAL
    assert set(THREE) == money.THREE_DECIMAL
    assert {*ZERO, *SENT_TIMES_100_WITHOUT_MINOR_UNIT} == money.NO_MINOR_UNIT


@pytest.mark.parametrize(("currency", "per_unit", "digits"), CURRENCIES)
def test_each_currency_has_its_minor_unit(currency: str, per_unit: int, digits: int) -> None:
    for amount in (0, 1, -1, 999, 123_456_789_012):
        scaled = scaled_from_minor(amount, currency)
        assert Decimal(scaled) / SCALE == Decimal(amount) / per_unit
        assert scaled_from_minor(amount, currency.lower()) == scaled
    assert minor_digits(currency) == minor_digits(currency.lower()) == digits


@given(amount=st.integers(-(10**22), 10**22), currency=st.sampled_from(CURRENCIES))
@example(amount=10**14 - 1, currency=("JPY", 1, 0))
@example(amount=10**14, currency=("JPY", 1, 0))
@example(amount=-(10**14), currency=("JPY", 1, 0))
@example(amount=3_000_000_000, currency=("IDR", 100, 2))
def test_minor_units_agree_with_decimal_or_overflow(amount: int, currency: tuple[str, int, int]) -> None:
    code, per_unit, _ = currency
    exact = EXACT.divide(Decimal(amount), Decimal(per_unit))
    if abs(exact) > LARGEST:
        with pytest.raises(OverflowError):
            scaled_from_minor(amount, code)
    else:
        found = scaled_from_minor(amount, code)
        assert type(found) is int
        assert EXACT.multiply(exact, Decimal(SCALE)) == found


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**16), max_value=10**16))
@example(Decimal("0.00005"))
@example(Decimal("0.00015"))
@example(Decimal("-0.00005"))
@example(Decimal("99999999999999.9999"))
@example(Decimal("99999999999999.99995"))
@example(Decimal("99999999999999.99994999999999999999999999999"))
@example(Decimal("12345678901234.00005000000000000000000000000001"))
@example(Decimal("0." + "0" * 3 + "0" + "5" + "0" * 500 + "1"))
@example(Decimal("0E+15"))
@example(Decimal("1E-999999"))
def test_decimal_amounts_are_rounded_half_even_once_or_refused(value: Decimal) -> None:
    expected = EXACT.multiply(rounded(value, 4), Decimal(SCALE)) if abs(value) < 10**17 else None
    if expected is None or abs(expected) > MAX_SCALED:
        with pytest.raises(ValueError, match="too large"):
            scaled_from_decimal(value)
    else:
        found = scaled_from_decimal(value)
        assert type(found) is int
        assert found == expected


@given(whole=st.integers(0, 10**14 - 1), fraction=st.text("0123456789", min_size=1, max_size=60))
def test_long_fractions_are_not_rounded_twice(whole: int, fraction: str) -> None:
    value = Decimal(f"{whole}.{fraction}")
    expected = EXACT.multiply(rounded(value, 4), Decimal(SCALE))
    if expected <= MAX_SCALED:
        assert scaled_from_decimal(value) == expected


@pytest.mark.parametrize("text", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
def test_amount_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        scaled_from_decimal(Decimal(text))


@pytest.mark.parametrize("text", ["1e999999999999999999", "-1e999999999999999999", "9" * 4000, "1e16"])
def test_short_text_for_a_huge_amount_is_refused_without_writing_it_out(text: str) -> None:
    value = Decimal(text)
    with pytest.raises(ValueError, match="too large"):
        scaled_from_decimal(value)
