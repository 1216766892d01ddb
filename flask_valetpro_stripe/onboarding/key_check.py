"""Is this an API key that we can work with: its shape, its mode, its account, and what it may do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import stripe

from .. import audit
from ..config import Config
from ..enums import AccountType, Mode
from ..errors import (
    AccountTakenError,
    ConfigurationError,
    InvalidKeyError,
    MissingPermissionError,
    ModeMismatchError,
    ValetProStripeError,
)
from ..gateway import Credentials, ask_stripe, is_decision, make_client
from ..models import Connection, key_of
from ..secrets import Secret
from ..state import State
from .status import fetch_own_account_id, missing_of, name_of

#: Keys that a tenant may have checked within :data:`.audit.WINDOW`: enough for every typo, too few to try stolen ones.
MOST_CHECKED: Final = 10
#: For how many seconds Stripe is asked about one key: up to 16 questions, and an admin who waits for the page.
PATIENCE: Final = 20.0
_LONGEST: Final = 255
_API_KEY: Final = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9_]{8,}", re.ASCII)
_PUBLISHABLE: Final = re.compile(r"pk_(test|live)_[A-Za-z0-9_]{8,}", re.ASCII)
# Without another underscore: what stands between two is shown when a secret is masked.
_WEBHOOK_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/=-]{24,}", re.ASCII)
#: What stands for the middle of a key where it is not shown, here and in the dashboard.
_HIDDEN: Final = ("…", "...", "•", "*")
_OF_MANY: Final = "That is an organization's key, which opens many accounts. Make a restricted key of this one account."
#: What people paste by mistake, by how it begins.
_MISTAKES: Final[Mapping[str, str]] = {
    "pk_": "That is a publishable key. The secret key begins with rk_ or sk_.",
    "whsec_": "That is the signing secret of a webhook endpoint. The secret key begins with rk_ or sk_.",
    "we_": "That is the id of a webhook endpoint. The secret key begins with rk_ or sk_.",
    "acct_": "That is the id of an account. The secret key begins with rk_ or sk_.",
    "ca_": "That is a Connect client id. The secret key begins with rk_ or sk_.",
    "ek_": "That is an ephemeral key, which expires within the hour. Make a restricted key, rk_….",
    "sk_org_": _OF_MANY,
    "rk_org_": _OF_MANY,
}
#: What the key must be allowed, by the permissions' names in the dashboard, and the call that shows it: Stripe looks at
#: the permission first, and refuses a call that lacks its parameters afterwards, so none of them does anything.
REQUIRED: Final[Mapping[str, tuple[str, str]]] = {
    "Payment Links: Write": ("post", "/v1/payment_links"),
    "Checkout Sessions: Write": ("post", "/v1/checkout/sessions"),
    "PaymentIntents: Write": ("post", "/v1/payment_intents"),
    "Charges and Refunds: Write": ("post", "/v1/refunds"),
    "Products: Write": ("post", "/v1/products"),
    "Prices: Write": ("post", "/v1/prices"),
}
ALLOW_THEM: Final = "In the Stripe Dashboard under Developers, API keys, allow the key these. Then enter it again."
#: Without these it works, with less.
ENDPOINTS: Final = "Webhook Endpoints: Write"
OPTIONAL: Final[Mapping[str, tuple[str, str]]] = {
    ENDPOINTS: ("post", "/v1/webhook_endpoints"),
    "Events: Read": ("get", "/v1/events?limit=1"),
    "Balance: Read": ("get", "/v1/balance"),
    "Payouts: Read": ("get", "/v1/payouts?limit=1"),
    "Balance Transaction Sources: Read": ("get", "/v1/balance_transactions?limit=1"),
    "Customers: Read": ("get", "/v1/customers?limit=1"),
    "Customer Portal: Read": ("get", "/v1/billing_portal/configurations?limit=1"),
    "Tax Calculations and Transactions: Read": ("get", "/v1/tax/settings"),
}


@dataclass(frozen=True)
class Checked:
    """A key that works: whose it is, and what it may not do."""

    key: Secret
    account_id: str
    account_name: str | None
    #: What Stripe wants before the account may charge; None if the key may not see that.
    requirements: tuple[str, ...] | None
    #: Of :data:`OPTIONAL`.
    missing_permissions: tuple[str, ...]


@dataclass(frozen=True)
class Pasted:
    """What stands in the form, read: None is an empty field, and leaves things as they are."""

    key: Secret | None = None
    publishable_key: str | None = None
    webhook_secret: Secret | None = None
    #: The account that the admin confirmed to switch to.
    switch_to: str | None = None


def read_form(state: State, mode: Mode, fields: Mapping[str, Secret]) -> Pasted:
    """Return the form's fields, each proved to look like what it is for.

    :raises InvalidKeyError: naming the field's mistake; what was typed is never repeated.
    :raises ModeMismatchError: for a key of the other mode.
    """
    try:
        return _read_form(state, mode, fields)
    except ValetProStripeError as error:
        problem = error.with_traceback(None)
    # Raised out here, without the frames in which what was typed lies open.
    raise problem


def _read_form(state: State, mode: Mode, fields: Mapping[str, Secret]) -> Pasted:
    given = {name: typed.reveal() for name, typed in fields.items() if typed.reveal().strip(" ")}
    key, publishable, webhook = (given.get(name) for name in ("secret_key", "publishable_key", "webhook_secret"))
    return Pasted(
        key=None if key is None else read_secret_key(state.config, mode, key),
        publishable_key=None if publishable is None else read_publishable_key(mode, publishable),
        webhook_secret=None if webhook is None else read_webhook_secret(webhook),
        switch_to=given.get("switch_to"),
    )


def read_secret_key(config: Config, mode: Mode, text: str) -> Secret:
    """Return what was typed as an API key of ``mode``.

    :raises InvalidKeyError: if it is something else; the text is never repeated.
    :raises ModeMismatchError: if it is a key of the other mode.
    """
    text = text.strip(" ")
    match = _API_KEY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise _not_a_key(text)
    if match[1] != mode:
        raise ModeMismatchError(
            f"That is a {match[1]} key, and this is the {mode} account. Nothing was saved.",
            hint=f"In the Stripe Dashboard, switch to {mode} mode and copy the key from there.",
        )
    if text.startswith("sk_") and not config.allow_secret_keys:
        raise InvalidKeyError(
            "Only restricted keys (rk_…) are taken here, and that is a secret key, which may do everything.",
            code="restricted_keys_only",
            hint="In the Stripe Dashboard under Developers, API keys, make a restricted key.",
        )
    return Secret(text)


def _not_a_key(text: str) -> InvalidKeyError:
    what = next((said for start, said in _MISTAKES.items() if text.startswith(start)), None)
    if what is None and any(mark in text for mark in _HIDDEN):
        what = "That is a key with its middle hidden. Copy the whole key."
    return InvalidKeyError(
        what or "That is not a Stripe API key: it begins with rk_ or sk_, and has letters, digits and _ only.",
        code="not_a_key",
        hint="Copy it from the Stripe Dashboard, under Developers, API keys.",
    )


def read_publishable_key(mode: Mode, text: str) -> str:
    """Return what was typed as a publishable key of ``mode``.

    :raises InvalidKeyError: if it is something else.
    :raises ModeMismatchError: if it is a key of the other mode.
    """
    text = text.strip(" ")
    match = _PUBLISHABLE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise InvalidKeyError(
            "That is not a publishable key: it begins with pk_. Nothing was saved.",
            code="not_a_publishable_key",
            hint="Copy it from the Stripe Dashboard, under Developers, API keys, or leave the field empty.",
        )
    if match[1] != mode:
        raise ModeMismatchError(f"That is a {match[1]} publishable key, and this is the {mode} account.")
    return text


def read_webhook_secret(text: str) -> Secret:
    """Return what was typed as an endpoint's signing secret.

    :raises InvalidKeyError: if it is something else.
    """
    text = text.strip(" ")
    if len(text) > _LONGEST or not _WEBHOOK_SECRET.fullmatch(text):
        raise InvalidKeyError(
            "That is not the signing secret of a webhook endpoint: it begins with whsec_. Nothing was saved.",
            code="not_a_webhook_secret",
            hint="Copy it from the endpoint's page in the Stripe Dashboard, or leave the field empty.",
        )
    return Secret(text)


def refuse_unless_offered(state: State) -> None:
    """Return if the operator lets tenants use keys of their own.

    :raises ValetProStripeError: if not.
    """
    if AccountType.RAW_KEYS not in state.config.allowed_account_types:
        raise ValetProStripeError("API keys are not taken here.", code="account_type", hint="Ask the operator.")


def allow_check(state: State, tenant: Any, mode: Mode, *, actor: str, fingerprint: str | None) -> None:
    """Note in the tenant's history that a key is about to be tried. Commits.

    :param fingerprint: of the secret key; None where only what belongs to it is tried.
    :raises ValetProStripeError: if that happens too often.
    """
    if audit.count_recent(state, tenant, "key_checked") >= MOST_CHECKED:
        state.session.rollback()
        raise ValetProStripeError(
            f"Keys were entered {MOST_CHECKED} times in the last ten minutes.",
            code="too_many",
            hint="Wait some minutes, then enter the right one.",
        )
    shown: dict[str, Any] = {"fingerprint": fingerprint} if fingerprint else {}
    audit.record(state, tenant_id=key_of(tenant), actor=actor, action="key_checked", mode=mode, **shown)
    state.session.commit()


def check_key(state: State, key: Secret, mode: Mode) -> Checked:
    """Return what Stripe says about a key. Asks Stripe several times, changes nothing there.

    :raises OutcomeUnknownError: if an answer does not come, or :data:`PATIENCE` runs out before the last one.
    :raises InvalidKeyError: if Stripe does not accept it, or it is expired.
    :raises ModeMismatchError: if it works in the other mode.
    :raises MissingPermissionError: naming all that it must be allowed and is not.
    """
    client = make_client(state, Credentials(key, None, mode), patience=PATIENCE)
    _prove_mode(client, mode)
    account = _read_account(client)
    missing = _refused(client, REQUIRED) if key.reveal().startswith("rk_") else []
    if missing:
        raise MissingPermissionError(
            f"The key is genuine, but it may not do all that payments need. It lacks: {', '.join(missing)}.",
            hint=ALLOW_THEM,
        )
    less = _refused(client, OPTIONAL) if key.reveal().startswith("rk_") else []
    wanted = tuple(missing_of(account)) if "charges_enabled" in account else None
    return Checked(key, str(account["id"]), name_of(account), wanted, tuple(less))


def note_checked(connection: Connection, checked: Checked) -> None:
    """Note on a connection what its key says about its account and itself. The caller commits."""
    connection.account_name = checked.account_name or connection.account_name
    connection.missing_permissions = list(checked.missing_permissions) or None


def _prove_mode(client: stripe.StripeClient, mode: Mode) -> None:
    try:
        balance = ask_stripe("Checking the key", client.v1.balance.retrieve)
    except MissingPermissionError:
        # A valid key that may not see the balance. Its prefix tells the mode.
        return
    if balance.livemode is not mode.livemode:
        raise ModeMismatchError(f"Stripe says that this is no {mode} key. Nothing was saved.")


def _read_account(client: stripe.StripeClient) -> Mapping[str, Any]:
    """Return the key's account, or only its id: most restricted keys may not read it, and the refusal names it."""
    try:
        return cast(Mapping[str, Any], ask_stripe("Reading the account", client.v1.accounts.retrieve_current).to_dict())
    except MissingPermissionError as error:
        if error.account_id is None:
            raise MissingPermissionError(
                "The key is genuine, but does not tell which account it belongs to.",
                hint="In the Stripe Dashboard, allow the key to read the account. Then enter it again.",
            ) from None
        return {"id": error.account_id}


def _refused(client: stripe.StripeClient, permissions: Mapping[str, tuple[str, str]]) -> list[str]:
    return [name for name, (method, path) in permissions.items() if not _may(client, name, method, path)]


def _may(client: stripe.StripeClient, name: str, method: str, path: str) -> bool:
    try:
        ask_stripe(f"Checking the permission '{name}'", client.raw_request, method, path)
    except MissingPermissionError:
        return False
    except ValetProStripeError as error:
        # Refused for what the call lacks: the permission was looked at before.
        if not is_decision(error):
            raise
    return True


def refuse_platforms(state: State, checked: Checked, mode: Mode) -> None:
    """Return if the key is not of the platform's own account.

    :raises AccountTakenError: if it is.
    :raises ConfigurationError: if nobody can tell, because the platform's own key does not work.
    """
    # An account has one id in both modes, and the platform may have a key for one of them only.
    known = next((each for each in (mode, *Mode) if state.config.secret_key(each)), None)
    if known is None:
        return
    if checked.key == state.config.secret_key(known) or checked.account_id == _platforms_id(state, known):
        raise AccountTakenError("This is the platform's own Stripe account, which cannot be a tenant's.")


def _platforms_id(state: State, mode: Mode) -> str | None:
    try:
        return fetch_own_account_id(state, mode)
    except InvalidKeyError:
        raise ConfigurationError(
            "Stripe does not accept the platform's own key, so nobody can tell whose account this is. Nothing was "
            f"saved. The operator must set a valid VALETPRO_STRIPE_{mode.upper()}_SECRET_KEY."
        ) from None


def prove_same_account(state: State, key: Secret, publishable_key: str, mode: Mode) -> None:
    """Return if both keys are of one account: what is made with the one can be read with the other.

    :raises InvalidKeyError: if they are not, or Stripe does not accept the publishable key.
    :raises MissingPermissionError: if the key may not read tokens, so that nobody can tell.
    """
    public = make_client(state, Credentials(Secret(publishable_key), None, mode), patience=PATIENCE)
    try:
        # A made-up identity number: a token by itself does nothing, and is forgotten.
        token = ask_stripe("Checking the publishable key", public.v1.tokens.create, {"pii": {"id_number": "000000000"}})
    except InvalidKeyError:
        raise InvalidKeyError("Stripe does not accept the publishable key. Nothing was saved.") from None
    secret = make_client(state, Credentials(key, None, mode), patience=PATIENCE)
    try:
        ask_stripe("Checking the publishable key", secret.v1.tokens.retrieve, str(token.id))
    except MissingPermissionError:
        raise MissingPermissionError(
            "Whether the two keys are of one account cannot be told: the secret key may not read tokens.",
            hint="Allow the key 'Tokens: Read' in the Stripe Dashboard, or leave the publishable key empty.",
        ) from None
    except ValetProStripeError as error:
        if error.code != "resource_missing":
            raise
        raise InvalidKeyError(
            "The publishable key and the secret key are of two different accounts. Nothing was saved.",
            code="two_accounts",
            hint="Copy both from the same page of the Stripe Dashboard.",
        ) from None
