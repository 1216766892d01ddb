"""Lists at Stripe, a page at a time, and never without an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from ..errors import OutcomeUnknownError
from ..gateway import ask_stripe

#: How many objects Stripe gives at once (API reference, "Pagination").
_PAGE: Final = 100


def each_of(
    list_: Callable[..., Any], asked: dict[str, Any], *, what: str, most_pages: int
) -> Iterator[dict[str, Any]]:
    """Yield what Stripe lists, the newest first.

    :param what: what is being done, to begin a sentence with.
    :raises OutcomeUnknownError: if there are more pages than ``most_pages``.
    """
    after: dict[str, Any] = {}
    for _ in range(most_pages):
        page = ask_stripe(what, list_, cast(Any, {"limit": _PAGE, **asked, **after}))
        found = [each.to_dict() for each in page.data]
        yield from found
        if not page.has_more:
            return
        after = {"starting_after": found[-1]["id"]}
    raise OutcomeUnknownError(
        f"{what}: Stripe lists more than {most_pages * _PAGE}, too many to look through.",
        hint="Look in the Stripe Dashboard.",
    )
