"""What a restricted key may do, and what Stripe calls the permission that it lacks."""

from collections.abc import Iterable

# Stripe lists these names nowhere. These are the ones that its own refusals and its dashboard's form for new keys use
# where they aren't the resource in the singular. Refunds share a row of that form with charges; "tax" is a guess.
_STEMS = {
    "account": "accounts_kyc_basic",
    "accounts": "connected_account",
    "balance_transactions": "balance_transaction_source",
    "billing_portal": "customer_portal",
    "checkout": "checkout_session",
    "core": "connected_account",
    "prices": "plan",
    "refunds": "charge",
    "tax": "tax_settings",
    "webhook_endpoints": "webhook",
}
_ACCESS = {"": ("read", "write"), "write": ("read", "write"), "read": ("read",)}


def grants(allow: Iterable[str]) -> frozenset[str]:
    """Return what ``allow`` opens: "payment_links:read" reading, "payment_links" both, as one pair for each."""
    granted: set[str] = set()
    for word in allow:
        resource, _, access = word.partition(":")
        if access not in _ACCESS:
            raise ValueError(f"{word!r} is no permission. Write 'payment_links' or 'payment_links:read'.")
        granted.update(grant(resource, write=each == "write") for each in _ACCESS[access])
    return frozenset(granted)


def grant(resource: str, *, write: bool) -> str:
    """Return our word for one kind of access to a resource."""
    return f"{resource}:{'write' if write else 'read'}"


def stripes_name(resource: str, *, write: bool) -> str:
    """Return the name that Stripe gives it: ``rak_payment_link_write``."""
    stem = _STEMS.get(resource, resource.removesuffix("s"))
    return f"rak_{stem}_{'write' if write else 'read'}"
