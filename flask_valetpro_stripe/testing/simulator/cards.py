"""Stripe's test cards and bank accounts, each with what happens to it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """A card or an IBAN. ``outcome`` is succeeds, requires_action, settles, fails_later, or an error code."""

    number: str
    outcome: str
    brand: str = "visa"
    decline_code: str | None = None
    message: str = ""
    refund: str = "succeeded"
    dispute: str | None = None
    """How the charge is disputed once it succeeded: fraudulent, product_not_received, inquiry, or not."""

    @property
    def is_bank_debit(self) -> bool:
        return self.brand == "sepa_debit"

    @property
    def last4(self) -> str:
        return self.number[-4:]


def _declined(number: str, decline_code: str, message: str, code: str = "card_declined") -> Instrument:
    return Instrument(number, code, decline_code=decline_code, message=message)


_ALL = (
    Instrument("4242424242424242", "succeeds"),
    Instrument("4000056655665556", "succeeds"),
    Instrument("5555555555554444", "succeeds", "mastercard"),
    Instrument("378282246310005", "succeeds", "amex"),
    Instrument("4000000000000077", "succeeds"),
    Instrument("4000002500003155", "requires_action"),
    Instrument("4000002760003184", "requires_action"),
    Instrument("4000000000003220", "requires_action"),
    Instrument("4000000000007726", "succeeds", refund="pending"),
    Instrument("4000000000005126", "succeeds"),
    Instrument("4000000000000259", "succeeds", dispute="fraudulent"),
    Instrument("4000000000002685", "succeeds", dispute="product_not_received"),
    Instrument("4000000000001976", "succeeds", dispute="inquiry"),
    _declined("4000000000000002", "generic_decline", "Your card was declined."),
    _declined("4000000000009995", "insufficient_funds", "Your card has insufficient funds."),
    _declined("4000000000009987", "lost_card", "Your card was declined."),
    _declined("4000000000009979", "stolen_card", "Your card was declined."),
    _declined("4000000000000069", "expired_card", "Your card has expired.", "expired_card"),
    _declined("4000000000000127", "incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc"),
    _declined(
        "4000000000000119",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        "processing_error",
    ),
    Instrument("AT611904300234573201", "settles", "sepa_debit"),
    Instrument("AT321904300235473204", "settles", "sepa_debit"),
    Instrument("AT861904300235473202", "fails_later", "sepa_debit"),
    Instrument("IT60X0542811101000000123456", "fails_later", "sepa_debit"),
)
INSTRUMENTS = {instrument.number: instrument for instrument in _ALL}

VISA = "4242424242424242"
BANK_DEBIT = "AT611904300234573201"
BANK_DEBIT_FAILS = "AT861904300235473202"
_NICKNAMES = {"bank_debit": BANK_DEBIT, "bank_debit_fails": BANK_DEBIT_FAILS}

# What follows "pm_card_" or "tok_" in Stripe's test tokens.
_TOKENS = {
    "visa": VISA,
    "us": VISA,
    "fr": VISA,
    "bypassPending": "4000000000000077",
    "visa_debit": "4000056655665556",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "pendingRefund": "4000000000007726",
    "refundFail": "4000000000005126",
    "authenticationRequired": "4000002500003155",
    "threeDSecureRequired": "4000000000003220",
    "createDispute": "4000000000000259",
    "createDisputeProductNotReceived": "4000000000002685",
    "createDisputeInquiry": "4000000000001976",
    "chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "chargeDeclinedLostCard": "4000000000009987",
    "chargeDeclinedStolenCard": "4000000000009979",
    "chargeDeclinedExpiredCard": "4000000000000069",
    "chargeDeclinedIncorrectCvc": "4000000000000127",
    "chargeDeclinedProcessingError": "4000000000000119",
}


def from_token(token: str) -> Instrument | None:
    """Return what a ``pm_card_…`` or ``tok_…`` stands for, or None."""
    name = token.removeprefix("pm_card_").removeprefix("tok_")
    number = _TOKENS.get(name) or _TOKENS.get(name.removeprefix("visa_"))
    return INSTRUMENTS[number] if number and name != token else None


def from_number(number: str) -> Instrument:
    """Return the instrument for what was typed; unknown numbers are declined as Stripe declines them."""
    plain = "".join(number.split()).replace("-", "")
    plain = _NICKNAMES.get(plain, plain.upper())
    known = INSTRUMENTS.get(plain)
    if known:
        return known
    if not _passes_luhn(plain):
        return _declined(plain or "0000", "incorrect_number", "Your card number is incorrect.", "incorrect_number")
    message = "Your card was declined. Your request was in test mode, but used a non test (live) card."
    return _declined(plain, "test_mode_live_card", message)


def _passes_luhn(number: str) -> bool:
    if not number.isascii() or not number.isdigit() or not 12 <= len(number) <= 19:
        return False
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
