"""The forms for a tenant's own API keys: entered, exchanged, brought back and destroyed, never shown."""

from __future__ import annotations

from typing import Any, Final

from flask import request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.wrappers import Response as BaseResponse

from ..context import get_tenant
from ..enums import OnboardingStatus
from ..errors import ValetProStripeError
from ..onboarding import key_check, raw_keys, rotation
from ..secrets import Secret
from ..state import get_state
from .access import user_id
from .answers import asked_mode, go_back, refusals_on_the_page, show_page

_FIELDS: Final = ("secret_key", "publishable_key", "webhook_secret", "switch_to")
_NOTHING: Final = Secret("")


def hide_what_was_typed(endpoint: str | None, values: object) -> None:
    """Put secrets in the place of what was typed, before anybody else looks at the form.

    A collector of errors sends the request's form along, whatever it was that failed.
    """
    if request.method == "POST":
        typed = request.form.items(multi=True)
        hidden: Any = [(name, Secret(text) if name in _FIELDS else text) for name, text in typed]
        request.form = ImmutableMultiDict(hidden)


@refusals_on_the_page
def save() -> BaseResponse:
    """Save what was entered, once Stripe has proved it: a first key, or another one in the place of the present."""
    state, tenant, mode = get_state(), get_tenant(), asked_mode()
    typed: Any = request.form
    try:
        pasted = key_check.read_form(state, mode, {name: typed.get(name, _NOTHING) for name in _FIELDS})
        saved = raw_keys.save(state, tenant, mode, pasted, actor=user_id())
    except ValetProStripeError as error:
        state.session.rollback()
        return show_page(error=error, code=422, keys_of=mode)
    if saved.connection.status is not OnboardingStatus.CONNECTED:
        return go_back("keys_pending")
    return go_back("keys_rotated" if saved.is_rotation else "keys_saved")


@refusals_on_the_page
def roll_back() -> BaseResponse:
    """Bring the key before the present one back."""
    rotation.roll_back(get_state(), get_tenant(), asked_mode(), actor=user_id())
    return go_back("key_brought_back")


@refusals_on_the_page
def destroy() -> BaseResponse:
    """Destroy every archived key of one mode for good."""
    rotation.destroy_archived(get_state(), get_tenant(), asked_mode(), actor=user_id())
    return go_back("keys_destroyed")
