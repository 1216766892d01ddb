"""What Stripe wants to know about an account, in a person's words instead of Stripe's field names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..onboarding.status import NO_ENDPOINT

#: Stripe docs, "Required verification information": the names that most accounts meet.
_WORDS: Final[Mapping[str, str]] = {
    NO_ENDPOINT: "A webhook endpoint",
    "business_profile.mcc": "What kind of business you have",
    "business_profile.name": "The name of your business",
    "business_profile.product_description": "A description of what you sell",
    "business_profile.support_email": "An e-mail address for your customers",
    "business_profile.support_phone": "A phone number for your customers",
    "business_profile.url": "The address of your website",
    "business_type": "Whether you are a company or a person",
    "company.directors_provided": "The directors of the company",
    "company.executives_provided": "The executives of the company",
    "company.owners_provided": "The owners of the company",
    "company.registration_number": "The registration number of the company",
    "company.tax_id": "The tax number of the company",
    "company.vat_id": "The VAT number of the company",
    "directors": "The directors of the company",
    "email": "An e-mail address",
    "executives": "The executives of the company",
    "external_account": "A bank account for payouts",
    "owners": "The owners of the company",
    "representative": "Who represents the company",
    "settings.payments.statement_descriptor": "What your customers read on their bank statement",
}
#: Whom a field is about, by the first part of its name.
_WHOSE: Final[Mapping[str, str]] = {
    "company": "The {} of the company",
    "directors": "The {} of each director",
    "executives": "The {} of each executive",
    "individual": "Your {}",
    "owners": "The {} of each owner",
    "representative": "The {} of who represents the company",
}
#: A person whom Stripe already knows, by an id of its own.
_SOMEBODY: Final = "The {} of somebody whom you named"
#: What is asked about them, by the next part.
_WHAT: Final[Mapping[str, str]] = {
    "address": "address",
    "dob": "date of birth",
    "email": "e-mail address",
    "first_name": "name",
    "id_number": "identity number",
    "last_name": "name",
    "name": "name",
    "phone": "phone number",
    "relationship": "role in the company",
    "ssn_last_4": "social security number, its last four digits",
    "verification": "proof of identity",
}


def in_words(wanted: Iterable[str]) -> list[str]:
    """Return Stripe's field names in words, each sentence once; a name that we do not know stays readable."""
    return list(dict.fromkeys(_words(name) for name in wanted))


def _words(name: str) -> str:
    if name in _WORDS:
        return _WORDS[name]
    if name.startswith("tos_acceptance."):
        return "Acceptance of Stripe's terms"
    first, _, rest = name.partition(".")
    whose = _SOMEBODY if first.startswith("person_") else _WHOSE.get(first)
    what = _WHAT.get(rest.partition(".")[0])
    return whose.format(what) if whose and what else name.replace("_", " ").replace(".", " – ")
