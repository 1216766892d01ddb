"""Calls that Stripe has no time for: made again after a moment, a few times, and for no tenant without end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from ..errors import OutcomeUnknownError, ValetProStripeError
from ..gateway import RATE_LIMITED, ask_stripe
from ..state import State

#: Tries of one call in all. Stripe limits an account's requests, or another call holds the object (Stripe docs, "Rate
#: limits"): nothing was done, and the key is as good as new.
MOST_TRIES: Final = 3
#: Seconds that the first wait takes at most; each after it twice that.
LONGEST_WAIT: Final = 0.3
#: Waits of one tenant, in the window of :mod:`.waits`, for calls that are answered elsewhere: a form sent twenty times.
MOST_REPEATS: Final = 40
_sleep = time.sleep


def ask_patiently(state: State, tenant_id: Any, what: str, call: Callable[..., Any], *args: Any) -> Any:
    """Return what ``call`` returns; while Stripe has no time for it, it is made again after a random moment.

    The same while Stripe is answering the same call elsewhere, for which a tenant may wait oftener: every sender of
    one form gets the one answer.

    :raises ValetProStripeError: as :func:`.gateway.ask_stripe` does; at once if the tenant has waited too often.
    """
    for tries in range(1, MOST_TRIES):
        try:
            return ask_stripe(what, call, *args)
        except ValetProStripeError as error:
            if not _may_wait(state, tenant_id, error):
                raise
        _sleep(random.uniform(0.5, 1) * LONGEST_WAIT * 2 ** (tries - 1))  # noqa: S311
    return ask_stripe(what, call, *args)


def _may_wait(state: State, tenant_id: Any, error: ValetProStripeError) -> bool:
    if isinstance(error, OutcomeUnknownError) and error.is_under_way:
        return state.waits.may(("under way", tenant_id), MOST_REPEATS)
    return error.code == RATE_LIMITED and state.waits.may(tenant_id)
