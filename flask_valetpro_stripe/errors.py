"""The errors that a host app may catch: what happened, a stable ``code``, and a ``hint`` that says what to do next."""

from __future__ import annotations

from typing import ClassVar


class ValetProStripeError(Exception):
    """Root of every error that this extension raises.

    ``code`` is a stable word to branch on, ``hint`` a sentence for a person. No message ever holds a key, a token or a
    payload; ids may appear.
    """

    default_code: ClassVar[str] = "error"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.hint = self.default_hint if hint is None else hint


class ConfigurationError(ValetProStripeError):
    """The app is set up wrongly. Raised at start wherever it can be seen at start."""

    default_code = "configuration"
    default_hint = "Run 'flask stripe doctor' for every misconfiguration and its fix."


class NoTenantError(ValetProStripeError, RuntimeError):
    """There is no tenant here. A ``RuntimeError`` too, so that ``bool(current_tenant)`` is False instead of raising."""

    default_code = "no_tenant"
    default_hint = "Register a loader with @valetpro.tenant_loader, or wrap the code in 'with tenant_context(tenant):'."


class NotConnectedError(ValetProStripeError):
    """The tenant cannot take payments yet; ``settings_url`` leads to the page where its admin mends that."""

    default_code = "not_connected"
    default_hint = "A tenant admin connects Stripe on the payment settings page."

    def __init__(
        self, message: str, *, settings_url: str = "", code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.settings_url = settings_url


class ConnectionRevokedError(NotConnectedError):
    """Stripe no longer lets the platform act on the tenant's account."""

    default_code = "connection_revoked"
    default_hint = "A tenant admin connects the account again on the payment settings page."


class ModeMismatchError(ValetProStripeError):
    """Test and live met: a key, a code or an object of one mode was used in the other."""

    default_code = "mode_mismatch"


class InvalidKeyError(ValetProStripeError):
    """Stripe does not accept the API key."""

    default_code = "invalid_key"
    default_hint = "Check the key in the Stripe Dashboard under Developers, API keys; it may be expired or rolled."


class MissingPermissionError(ValetProStripeError):
    """The key is genuine, but lacks a permission that this call needs."""

    default_code = "missing_permission"
    default_hint = "Give the restricted key the permission in the Stripe Dashboard, or use another key."

    def __init__(
        self, message: str, *, account_id: str | None = None, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        #: The account that the key belongs to, where Stripe's refusal names it.
        self.account_id = account_id


class AccountTakenError(ValetProStripeError):
    """The Stripe account already serves another tenant, or is the platform's own."""

    default_code = "account_taken"
    default_hint = "Connect another Stripe account, or ask the operator of this service."


class AccountSwitchError(ValetProStripeError):
    """The key is of another account than the connected one: that is no rotation, and must be confirmed."""

    default_code = "account_switch"

    def __init__(self, message: str, *, account_id: str) -> None:
        super().__init__(
            message,
            hint="If you mean it, enter the key again and tick the box. Payments made so far stay with the account "
            "that took them, and can be refunded there.",
        )
        self.account_id = account_id


class SecretUnavailableError(ValetProStripeError):
    """The secret store cannot answer now. It never means that the secret is absent."""

    default_code = "secret_unavailable"
    default_hint = "Try again in a moment; 'flask stripe doctor --online' tells the operator whether the store answers."


class RefundError(ValetProStripeError):
    """The refund cannot be made."""

    default_code = "refund"


class OutcomeUnknownError(ValetProStripeError):
    """Stripe's answer did not arrive, so the call may or may not have taken effect. Unknown is never failed."""

    default_code = "outcome_unknown"
    default_hint = "Repeat the call with the same idempotency_key: it makes at most one object at Stripe."
    #: Stripe failed over the call, and keeps that as its answer: by the same key it will only be repeated.
    is_saved = False
    #: Stripe is answering the same call elsewhere: a form that was sent twice, for example.
    is_under_way = False
