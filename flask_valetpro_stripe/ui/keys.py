"""The forms for a tenant's own API keys: entered, exchanged, brought back and destroyed, never shown."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from flask import request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.wrappers import Response as BaseResponse

from .. import custody
from ..context import get_tenant
from ..enums import Mode, OnboardingStatus
from ..errors import ValetProStripeError
from ..onboarding import raw_keys
from ..secrets import Secret
from ..state import State, get_state
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
    state, tenant, mode = get_state(), get_tenant(), asked_mode(required=True)
    typed: Any = request.form
    before = _key_in_use(state, tenant, mode)
    try:
        pasted = raw_keys.read_form(state, mode, {name: typed.get(name, _NOTHING) for name in _FIELDS})
        connection = raw_keys.save(state, tenant, mode, pasted, actor=user_id())
    except ValetProStripeError as error:
        state.session.rollback()
        return show_page(error=error, code=422, keys_of=mode)
    if connection.status is not OnboardingStatus.CONNECTED:
        return go_back("keys_pending")
    now = _key_in_use(state, tenant, mode)
    is_rotation = before and now and before.connection_id == now.connection_id and before.version != now.version
    return go_back("keys_rotated" if is_rotation else "keys_saved")


class _KeyInUse(NamedTuple):
    connection_id: int
    version: int


def _key_in_use(state: State, tenant: Any, mode: Mode) -> _KeyInUse | None:
    own = raw_keys.find_own(state, tenant, mode)
    row = custody.find_present(state, own, custody.API_KEY) if own else None
    return _KeyInUse(row.connection_id, row.version) if row else None


@refusals_on_the_page
def roll_back() -> BaseResponse:
    """Bring the key before the present one back."""
    raw_keys.roll_back(get_state(), get_tenant(), asked_mode(required=True), actor=user_id())
    return go_back("key_brought_back")


@refusals_on_the_page
def destroy() -> BaseResponse:
    """Destroy every archived key of one mode for good."""
    raw_keys.destroy_archived(get_state(), get_tenant(), asked_mode(required=True), actor=user_id())
    return go_back("keys_destroyed")
