"""What a clerk types, read into what the desk keeps, or into sentences that say what to mend."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask_valetpro_stripe import money

from .models import Tenant, Ticket

CURRENCIES: Final = ("eur", "usd", "gbp", "chf", "jpy")
_OPERATION: Final = re.compile(r"[A-Za-z0-9_-]{16,48}")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_PHONE_MARKS: Final = re.compile(r"[\s().\-/]")
_PLATE: Final = re.compile(r"[^\W_]+(?:[ \-.·][^\W_]+)*")


@dataclass(frozen=True)
class NewTicket:
    """A ticket as a clerk asked for it, checked."""

    guest_name: str
    phone: str
    plate: str
    amount: int
    currency: str
    deposit: int | None
    operation: str


@dataclass(frozen=True)
class Price:
    """What parking costs, and how much is held instead of charged, checked."""

    amount: int
    currency: str
    deposit: int | None


@dataclass(frozen=True)
class NewExtra:
    """An extra as a clerk asked for it, checked."""

    name: str
    amount: int
    operation: str


def new_operation() -> str:
    """Return the token of one form: sent twice, it makes one ticket."""
    return secrets.token_urlsafe(24)


def single_line(text: str) -> str:
    """Return ``text`` without control characters and without needless space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def read_ticket(form: Mapping[str, str], hotel: Tenant) -> tuple[NewTicket | None, dict[str, str]]:
    """Return the ticket that ``form`` asks for, or None; and for each field that is wrong, what to do."""
    read, mistakes = _read(_TICKET, form, hotel)
    return (None if mistakes else NewTicket(**read)), mistakes


def read_price(form: Mapping[str, str], hotel: Tenant) -> tuple[Price | None, dict[str, str]]:
    """Return the price that ``form`` asks for, or None; and for each field that is wrong, what to do."""
    read, mistakes = _read(_PRICE, form, hotel)
    return (None if mistakes else Price(**read)), mistakes


def read_extra(form: Mapping[str, str], ticket: Ticket) -> tuple[NewExtra | None, dict[str, str]]:
    """Return the extra that ``form`` adds to ``ticket``, or None; and for each field that is wrong, what to do."""
    in_its_currency = {
        "name": form.get("extra_name", ""),
        "amount": form.get("extra_amount", ""),
        "operation": form.get("operation", ""),
        "currency": ticket.currency,
    }
    read, mistakes = _read(_EXTRA, in_its_currency, ticket.tenant)
    # The page has another field for an amount.
    named = {field if field == "operation" else f"extra_{field}": text for field, text in mistakes.items()}
    return (None if mistakes else NewExtra(**read)), named


def _read(
    readers: Mapping[str, Callable[[Mapping[str, str], Tenant], Any]], form: Mapping[str, str], hotel: Tenant
) -> tuple[dict[str, Any], dict[str, str]]:
    read: dict[str, Any] = {}
    mistakes: dict[str, str] = {}
    for field, reader in readers.items():
        try:
            read[field] = reader(form, hotel)
        except ValueError as error:
            mistakes[field] = str(error)
    return read, mistakes


def read_phone(form: Mapping[str, str], hotel: Tenant) -> str:
    """Return the phone number with its country's code; a national number gets the hotel's.

    :raises ValueError: with a sentence for the clerk.
    """
    number = _PHONE_MARKS.sub("", single_line(form.get("phone", "")).replace("(0)", ""))
    if number.startswith("00"):
        number = f"+{number[2:]}"
    elif number.startswith("0"):
        number = f"+{hotel.dialling_code}{number[1:]}"
    if not _PHONE.fullmatch(number):
        example = f"+{hotel.dialling_code} 6 12 34 56 78"
        raise ValueError(f"Write the phone number with its country code, for example {example}.")
    return number


def _guest_name(form: Mapping[str, str], hotel: Tenant) -> str:
    name = single_line(form.get("guest_name", ""))
    if not name:
        raise ValueError("Write the guest's name.")
    if len(name) > 80:
        raise ValueError("Write the guest's name in at most 80 letters.")
    return name


def _plate(form: Mapping[str, str], hotel: Tenant) -> str:
    plate = single_line(form.get("plate", "")).upper()
    if not 2 <= len(plate) <= 16 or not _PLATE.fullmatch(plate):
        raise ValueError("Write the plate as on the car: 2 to 16 letters and digits, for example AB-123-CD.")
    return plate


def _currency(form: Mapping[str, str], hotel: Tenant) -> str:
    return money.check_currency(form.get("currency", "").strip() or hotel.currency)


def _amount(form: Mapping[str, str], hotel: Tenant) -> int:
    return _money("amount", form, hotel)


def _deposit(form: Mapping[str, str], hotel: Tenant) -> int | None:
    return _money("deposit", form, hotel) if form.get("collect") == "hold" else None


def _money(field: str, form: Mapping[str, str], hotel: Tenant) -> int:
    try:
        currency = _currency(form, hotel)
    except ValueError:
        # The currency has its own message; the digits can still be judged.
        currency = hotel.currency
    return money.parse_amount(form.get(field, ""), currency)


def _extra_name(form: Mapping[str, str], hotel: Tenant) -> str:
    name = single_line(form.get("name", ""))
    if not name:
        raise ValueError("Write what the guest gets, for example Car wash.")
    if len(name) > 60:
        raise ValueError("Write what the guest gets in at most 60 letters.")
    return name


def read_operation(form: Mapping[str, str], hotel: Tenant) -> str:
    """Return the form's token.

    :raises ValueError: with a sentence for the clerk, if we cannot have issued it.
    """
    operation = form.get("operation") or new_operation()
    if not _OPERATION.fullmatch(operation):
        raise ValueError("This form is out of date. Check what it says and send it again.")
    return operation


_PRICE: Final[Mapping[str, Callable[[Mapping[str, str], Tenant], Any]]] = {
    "amount": _amount,
    "currency": _currency,
    "deposit": _deposit,
}
_TICKET: Final[Mapping[str, Callable[[Mapping[str, str], Tenant], Any]]] = {
    "guest_name": _guest_name,
    "phone": read_phone,
    "plate": _plate,
    **_PRICE,
    "operation": read_operation,
}
_EXTRA: Final[Mapping[str, Callable[[Mapping[str, str], Tenant], Any]]] = {
    "name": _extra_name,
    "amount": _amount,
    "operation": read_operation,
}
