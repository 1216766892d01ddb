"""Amounts of money: minor units, minimums and how a page shows them."""

from ...money import CURRENCIES, exponent
from .errors import invalid

_SYMBOLS = {"eur": "€", "usd": "$", "gbp": "£", "jpy": "¥", "krw": "₩", "inr": "₹", "aud": "A$", "cad": "CA$"}
_MINIMUMS = {"aed": 200, "myr": 200, "pln": 200, "ron": 200, "czk": 1500, "dkk": 250, "hkd": 400, "huf": 17500}
_MINIMUMS |= {"gbp": 30, "mxn": 1000, "nok": 300, "sek": 300, "thb": 1000}
_MAXIMUM = 99_999_999


def known_currency(currency: str, param: str = "currency") -> str:
    """Return the currency in lower case, or raise Stripe's answer for one that it doesn't know."""
    lowered = currency.lower()
    if lowered not in CURRENCIES:
        supported = ", ".join(sorted(CURRENCIES))
        raise invalid(f"Invalid currency: {lowered}. Stripe currently supports these currencies: {supported}", param)
    return lowered


def chargeable(amount: int, currency: str, *, param: str = "amount", subject: str = "Amount must be") -> None:
    """Raise unless Stripe would take this amount."""
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", param, "parameter_invalid_integer")
    least = _MINIMUMS.get(currency, 50)
    if amount < least:
        raise invalid(f"{subject} at least {display(least, currency)} {currency}", param, "amount_too_small")
    if amount > _MAXIMUM:
        raise invalid(f"{subject} no more than {display(_MAXIMUM, currency)}", param, "amount_too_large")


def display(amount: int, currency: str) -> str:
    """Return an amount as a person reads it: ``€25.00``, ``¥3,000``, ``25.00 CHF``."""
    digits = exponent(currency)
    number = f"{amount / 10**digits:,.{digits}f}"
    symbol = _SYMBOLS.get(currency)
    return f"{symbol}{number}" if symbol else f"{number} {currency.upper()}"
