"""Which API version a request speaks, and what older versions still accept."""

CURRENT = "2026-10-28.endive"
ENDIVE_BEGAN = "2026-09-30"


def accepts_payment_method_types(version: str | None) -> bool:
    """Tell if ``payment_method_types`` is still a parameter of intents and sessions.

    It went away on 2026-09-30. Without a ``Stripe-Version`` header the account's own, possibly older, default counts;
    the official command line client sends none and still passes the parameter.
    """
    return version is None or version[:10] < ENDIVE_BEGAN
