"""What a view of the settings pages answers: the page, the way back to it, or a refusal on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from flask import Response, make_response, redirect, render_template, request, session, url_for
from flask_wtf.csrf import generate_csrf
from werkzeug.wrappers import Response as BaseResponse

from ..context import get_tenant
from ..enums import Mode
from ..errors import ValetProStripeError
from ..models import key_of
from ..state import get_state
from .access import is_fragment
from .page import cards_of
from .ways import ways_of


@dataclass(frozen=True)
class Done:
    """What the page says after something was done."""

    text: str
    is_good: bool = True


#: Where the browser's session keeps the word of what was just done, until the page has said it.
_JUST_DONE: Final = "valetpro_stripe_done"
#: The address carries only the word, and nothing is said that the session does not confirm.
_DONE: Final[Mapping[str, Done]] = {
    "connected": Done("Your Stripe account is connected."),
    "pending": Done(
        "Your Stripe account is connected, but Stripe wants something more before it may take payments.", is_good=False
    ),
    "begun": Done(
        "You are back from Stripe. It wants something more before this account may take payments.", is_good=False
    ),
    "declined": Done("You declined at Stripe. Nothing was changed.", is_good=False),
    "disconnected": Done("Your Stripe account is disconnected."),
    "mode": Done("The mode is switched."),
    "keys_saved": Done("Your API keys are saved, and in use."),
    "keys_rotated": Done("The new API key is in use. The one before it is archived: it is not used any more."),
    "keys_pending": Done("Your API keys are saved, but this account may not take payments yet.", is_good=False),
    "key_brought_back": Done("The earlier API key is in use again."),
    "keys_destroyed": Done("The archived keys are destroyed. Nobody can bring them back."),
    "not_begun": Done("There was nothing to come back from at Stripe. Nothing was changed.", is_good=False),
    "revoked": Done("Stripe no longer lets us act for this account.", is_good=False),
    "refunded": Done("The refund is made. The guest sees it within a few days."),
    "replay_processed": Done("The event is handled now."),
    "replay_failed": Done("The event failed again.", is_good=False),
    "replay_parked": Done("The event is still kept without action.", is_good=False),
    "replay_processing": Done("The event is being handled. Load the page again in a minute.", is_good=False),
}


def show_page(*, error: ValetProStripeError | None = None, code: int = 200, keys_of: Mode | None = None) -> Response:
    """Return the settings page, or its panel alone for htmx.

    :param keys_of: the mode whose keys form the error is about: it is shown there.
    """
    state, tenant = get_state(), get_tenant()
    cards = cards_of(state, tenant)
    return render(
        "_panel.html" if is_fragment() else "settings.html",
        code=code,
        tenant=tenant,
        cards=cards,
        ways={card.mode: ways_of(state, tenant, card.mode, card.connection) for card in cards},
        error=error,
        keys_of=keys_of,
        done=take_done(),
    )


def take_done() -> Done | None:
    """Return what was just done, once: a reload of the address, or somebody else's link to it, says nothing."""
    word = request.args.get("done")
    if word is None or session.get(_JUST_DONE) != word:
        return None
    del session[_JUST_DONE]
    return _DONE.get(word)


def refuse_another_tenant() -> Response | None:
    """Refuse a form that was shown for another tenant than the one whose admin sends it now.

    Somebody who manages two tenants may have changed to this one in another tab. Only our own forms name their tenant.
    """
    meant = request.form.get("for_tenant") if request.method == "POST" else None
    if meant is None or meant == str(key_of(get_tenant())):
        return None
    error = ValetProStripeError(
        "This form belongs to another tenant than the one that you manage now, so nothing was done.",
        code="another_tenant",
        hint="You see the present tenant's page. Change back if you meant the other one.",
    )
    return show_page(error=error, code=409)


def render(template: str, *, code: int = 200, **shown: object) -> Response:
    """Return one of our templates, with what every page of ours needs."""
    state = get_state()
    html = render_template(
        f"valetpro_stripe/{template}",
        base_template=state.config.base_template,
        htmx=state.config.htmx,
        csrf_token_value=generate_csrf(),
        tenant_key=key_of(get_tenant()),
        **shown,
    )
    return make_response(html, code)


def go_back(done: str, view: str = "settings", **where: Any) -> BaseResponse:
    """Send the browser back to the page, or to another one of ours, which says what was done."""
    session[_JUST_DONE] = done
    return go_to(url_for(f"valetpro_stripe.{view}", done=done, **where))


def go_to(address: str) -> BaseResponse:
    """Send the browser somewhere: as a whole page, since a fragment cannot follow to Stripe."""
    if not is_fragment():
        return redirect(address, 303)
    response = make_response("", 200)
    response.headers["HX-Redirect"] = address
    return response


def refusals_on_the_page(view: Callable[[], BaseResponse]) -> Callable[[], BaseResponse]:
    """Show an error of ours on the page itself, with 422. What was not committed before it is undone."""

    @wraps(view)
    def guarded() -> BaseResponse:
        try:
            return view()
        except ValetProStripeError as error:
            get_state().session.rollback()
            return show_page(error=error, code=422)

    return guarded


def shown_mode(given: Mapping[str, str]) -> Mode:
    """Return the mode that an address or a form shows; the active one if it names none, or what is none."""
    active: Mode = get_tenant().stripe_mode
    return next((mode for mode in Mode if mode == given.get("mode")), active)


def asked_mode(*, otherwise: Mode | None = None) -> Mode:
    """Return the mode that the form or the address names.

    :param otherwise: what is meant where neither names one: for the links that a host makes itself.
    :raises ValetProStripeError: if there is none, or no such mode.
    """
    word = (request.form if request.method == "POST" else request.args).get("mode")
    if word is None and otherwise is not None:
        return otherwise
    try:
        return Mode(word or "")
    except ValueError:
        raise ValetProStripeError("The mode must be 'test' or 'live'.", code="mode") from None
