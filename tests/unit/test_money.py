"""Amounts: whole minor units or nothing, in every currency that Stripe charges in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_valetpro_stripe.money import (
    CURRENCIES,
    MAX_AMOUNT,
    check_amount,
    check_currency,
    exponent,
    format_amount,
    parse_amount,
    to_decimal,
)

ZERO_DECIMAL = {
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf",
}
THREE_DECIMAL = {"bhd", "jod", "kwd", "omr", "tnd"}
#: Stripe docs, "Special cases": without decimals in the world, with two zeros in the API.
TIMES_100 = {"isk", "ugx"}

currencies = st.sampled_from(sorted(CURRENCIES))


def step_of(currency: str) -> int:
    return 100 if currency in TIMES_100 else 10 if currency in THREE_DECIMAL else 1


@st.composite
def payable(draw: st.DrawFn) -> tuple[int, str]:
    """An amount that Stripe takes, with its currency."""
    currency = draw(currencies)
    step = step_of(currency)
    return draw(st.integers(1, MAX_AMOUNT // step)) * step, currency


def test_each_currency_has_the_digits_that_stripe_gives_it() -> None:
    assert ZERO_DECIMAL | THREE_DECIMAL | TIMES_100 <= CURRENCIES
    assert {c for c in CURRENCIES if exponent(c) == 0} == ZERO_DECIMAL
    assert {c for c in CURRENCIES if exponent(c) == 3} == THREE_DECIMAL
    assert {exponent(c) for c in CURRENCIES} == {0, 2, 3}


def test_the_case_of_a_code_changes_nothing() -> None:
    """A code in upper case must not be taken for a currency with two decimals."""
    assert (exponent("JPY"), exponent("KWD"), exponent("EUR")) == (0, 3, 2)
    assert to_decimal(1000, "JPY") == Decimal(1000)
    with pytest.raises(ValueError, match="multiples of 10"):
        check_amount(1001, "KWD")


@pytest.mark.slow("tries a hundred amounts, and loads what invents them")
@given(payable())
def test_every_payable_amount_is_taken_as_it_is(money: tuple[int, str]) -> None:
    amount, currency = money
    assert check_amount(amount, currency) == amount


@given(currencies, st.integers(max_value=0))
def test_nothing_at_or_below_zero_is_taken(currency: str, amount: int) -> None:
    with pytest.raises(ValueError, match="more than zero"):
        check_amount(amount, currency)


@given(currencies, st.integers(min_value=MAX_AMOUNT + 1))
def test_nothing_above_stripes_maximum_is_taken(currency: str, amount: int) -> None:
    with pytest.raises(ValueError, match="above the largest"):
        check_amount(amount, currency)


@given(st.sampled_from(sorted(TIMES_100 | THREE_DECIMAL)), st.integers(1, MAX_AMOUNT))
def test_digits_that_stripe_would_refuse_are_refused_here(currency: str, amount: int) -> None:
    step = step_of(currency)
    if amount % step:
        with pytest.raises(ValueError, match=f"Amounts in {currency.upper()} must be multiples of {step}"):
            check_amount(amount, currency)
    else:
        assert check_amount(amount, currency) == amount


NOT_INTS = [True, False, 25.0, 1e3, float("nan"), float("inf"), Decimal(25), "25", b"25", None, [25], 25j]


@pytest.mark.parametrize("amount", NOT_INTS, ids=repr)
def test_an_amount_is_an_int_and_nothing_else(amount: Any) -> None:
    with pytest.raises(ValueError, match=f"must be an int in minor units .* not {type(amount).__name__}"):
        check_amount(amount, "eur")


@pytest.mark.parametrize("currency", ["", "e", "euro", "xxx", "EU R", "eur ", "€", "ß", None, 978, b"eur", ["eur"]])
def test_a_currency_is_one_that_stripe_charges_in(currency: Any) -> None:
    with pytest.raises(ValueError, match="Use a three-letter ISO code such as 'eur'"):
        check_currency(currency)


@given(currencies)
def test_a_currency_comes_back_in_lower_case(currency: str) -> None:
    assert check_currency(currency.upper()) == check_currency(currency) == currency


@given(payable(), st.sampled_from(".,"))
def test_what_is_shown_in_digits_is_read_back_as_the_same_amount(money: tuple[int, str], point: str) -> None:
    amount, currency = money
    assert parse_amount(str(to_decimal(amount, currency)).replace(".", point), currency.upper()) == amount


@given(st.text())
def test_no_text_makes_an_amount_that_stripe_would_not_take(text: str) -> None:
    try:
        amount = parse_amount(text, "eur")
    except ValueError:
        return
    assert type(amount) is int
    assert 0 < amount <= MAX_AMOUNT


TYPED: list[tuple[str, str, int]] = [
    ("25", "eur", 2500),
    (" 25.00 ", "eur", 2500),
    ("25,5", "EUR", 2550),
    ("0.01", "usd", 1),
    ("007", "usd", 700),
    ("999999.99", "usd", MAX_AMOUNT),
    ("1500", "jpy", 1500),
    ("5", "isk", 500),
    ("5", "ugx", 500),
    ("12.340", "kwd", 12340),
    ("12.34", "kwd", 12340),
    ("1500", "huf", 150000),
]


@pytest.mark.parametrize("text, currency, amount", TYPED)
def test_what_a_person_types(text: str, currency: str, amount: int) -> None:
    assert parse_amount(text, currency) == amount


CANNOT_BE_READ = [
    ("", "eur"), (" ", "eur"), (".", "eur"), (".5", "eur"), ("5.", "eur"), ("-5", "eur"), ("+5", "eur"),
    ("1e3", "eur"), ("NaN", "eur"), ("Infinity", "eur"), ("0x10", "eur"), ("1_000", "eur"), ("1 000", "eur"),
    ("1.000,00", "eur"), ("1,000.00", "eur"), ("25 EUR", "eur"), ("€25", "eur"), ("２５", "eur"), ("٢٥", "eur"),
    ("25\n26", "eur"), ("9" * 400, "eur"), ("0", "eur"), ("0.00", "eur"), ("1000000", "eur"), ("0.001", "eur"),
    ("1.5", "jpy"), ("5.5", "isk"), ("5.50", "ugx"), ("1.234", "kwd"), ("1.2345", "kwd"), ("25", "xxx"),
]  # fmt: skip


@pytest.mark.parametrize("text, currency", CANNOT_BE_READ)
def test_what_cannot_be_read_for_sure_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_amount(text, currency)


@pytest.mark.parametrize("text", ["1,000", "1.000", "25.000"])
@pytest.mark.parametrize("currency", ["eur", "jpy"])
def test_a_thousands_mark_is_not_taken_for_a_decimal_point(text: str, currency: str) -> None:
    """Somebody who types 1,000 means a thousand: one euro would be the wrong charge."""
    with pytest.raises(ValueError, match=r"digits after the point|no decimals"):
        parse_amount(text, currency)


@given(payable())
def test_decimals_are_exact(money: tuple[int, str]) -> None:
    amount, currency = money
    assert to_decimal(amount, currency) * 10 ** exponent(currency) == amount


@pytest.mark.parametrize(
    "amount, currency, shown",
    [
        (2500, "eur", "€25.00"),
        (1, "usd", "$0.01"),
        (1500, "jpy", "¥1,500"),
        (1500, "JPY", "¥1,500"),
        (500, "isk", "ISK5"),
        (12340, "kwd", "KWD12.340"),
        (2550, "lak", "LAK25.5"),
        (123456789, "eur", "€1,234,567.89"),
    ],
)
def test_amounts_as_a_person_reads_them(amount: int, currency: str, shown: str) -> None:
    assert format_amount(amount, currency) == shown


def test_amounts_follow_the_readers_language() -> None:
    assert format_amount(123450, "eur", locale="de") == "1.234,50\xa0€"


@given(payable())
def test_nothing_is_rounded_away_when_an_amount_is_shown(money: tuple[int, str]) -> None:
    amount, currency = money
    shown = format_amount(amount, currency)
    digits = "".join(character for character in shown if character in "0123456789.")
    assert Decimal(digits.strip(".")) == to_decimal(amount, currency)
