"""Amounts: ints in minor units, with their currency beside them, checked against Stripe's table of currencies."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from babel.numbers import format_currency, get_currency_precision

#: Currencies that Stripe charges in (Stripe docs, "Supported currencies"), lower-case ISO codes.
CURRENCIES: Final = frozenset(
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp "
    "cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr "
    "isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn "
    "myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle "
    "sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw"
    .split()
)
_ZERO_DECIMAL: Final = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
_THREE_DECIMAL: Final = frozenset("bhd jod kwd omr tnd".split())
#: Zero-decimal in the world, but Stripe's API wants them times 100 with 00 at the end (Stripe docs, "Special cases").
_WHOLE_UNITS_TIMES_100: Final = frozenset({"isk", "ugx"})
#: Stripe's longest amount for cards is 12 digits, for everything else 8 (Stripe docs, "Minimum and maximum charge
#: amounts"). We take the one that every payment method accepts.
MAX_AMOUNT: Final = 99_999_999


def exponent(currency: str) -> int:
    """Return how many decimal digits an amount of ``currency`` has at Stripe: 0, 2 or 3."""
    code = currency.lower()
    if code in _ZERO_DECIMAL:
        return 0
    return 3 if code in _THREE_DECIMAL else 2


def check_currency(currency: Any) -> str:
    """Return ``currency`` in lower case.

    :raises ValueError: if Stripe does not charge in it.
    """
    if not isinstance(currency, str) or currency.lower() not in CURRENCIES:
        raise ValueError("The currency is not one that Stripe charges in. Use a three-letter ISO code such as 'eur'.")
    return currency.lower()


def check_amount(amount: Any, currency: str) -> int:
    """Return ``amount``, in minor units of ``currency``, if Stripe can charge it.

    :raises ValueError: for anything but a positive int up to :data:`MAX_AMOUNT`, or with digits that the currency
        does not have.
    """
    if type(amount) is not int:
        raise ValueError(
            f"The amount must be an int in minor units (25.00 EUR is 2500), not {type(amount).__name__}. "
            "Use money.parse_amount for what a person typed."
        )
    if amount <= 0:
        raise ValueError("The amount must be more than zero.")
    if amount > MAX_AMOUNT:
        raise ValueError(f"The amount is above the largest that Stripe takes, {MAX_AMOUNT} in minor units.")
    step = smallest_step(currency)
    if amount % step:
        raise ValueError(f"Amounts in {currency.upper()} must be multiples of {step} in minor units.")
    return amount


def smallest_step(currency: str) -> int:
    """Return by how much amounts differ at least, in minor units (Stripe docs, "Currencies", special cases)."""
    code = currency.lower()
    if code in _WHOLE_UNITS_TIMES_100:
        return 100
    return 10 if code in _THREE_DECIMAL else 1


_TYPED: Final = re.compile(r"[0-9]{1,12}(?:[.,]([0-9]{1,3}))?", re.ASCII)


def parse_amount(text: str, currency: str) -> int:
    """Return what a person typed ("25", "25.00", "25,00") in minor units of ``currency``.

    :raises ValueError: for anything else: signs, exponents, thousands marks, more digits than the currency has.
    """
    currency = check_currency(currency)
    text = text.strip()
    typed = _TYPED.fullmatch(text)
    if not typed:
        raise ValueError("Write the amount as digits with at most one decimal point, for example 25 or 25.00.")
    digits = exponent(currency)
    # Zeros count: whoever types 1,000 or 1.000 euros may mean a thousand.
    if len(typed[1] or "") > digits:
        rule = f"at most {digits} digits after the point" if digits else "no decimals"
        raise ValueError(f"An amount in {currency.upper()} has {rule}.")
    return check_amount(int(Decimal(text.replace(",", ".")).scaleb(digits)), currency)


def to_decimal(amount: int, currency: str) -> Decimal:
    """Return ``amount`` (minor units) in major units, exactly."""
    return Decimal(amount).scaleb(-exponent(currency))


def format_amount(amount: int, currency: str, locale: str = "en") -> str:
    """Return ``amount`` (minor units) as a person in ``locale`` reads it, for example ``€25.00``."""
    value = to_decimal(amount, currency)
    # Some currencies have more digits at Stripe than in everyday use (LAK): round nothing away when showing them.
    fits = value == round(value, get_currency_precision(currency.upper()))
    return str(format_currency(value, currency.upper(), locale=locale, decimal_quantization=fits))
