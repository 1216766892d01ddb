"""Changes of an account that its platform hears of."""

from typing import Any

from .accounts import Account, shape
from .accounts_v2 import capability_status, requirements
from .ledger import Ledger
from .thin import CAPABILITY_UPDATED, REQUIREMENTS_UPDATED, emit_thin


def change_account(ledger: Ledger, account: Account, *, livemode: bool, **changes: Any) -> None:
    """Set ``changes`` on an account and emit account.updated, and v2's thin events if the account was made there."""
    wanted, status = requirements(account), capability_status(account)
    for name, value in changes.items():
        if not hasattr(account, name):
            raise TypeError(f"An account has no {name}.")
        setattr(account, name, value)
    connected = (account.id, livemode) in ledger.connections
    ledger.scope(account.id, livemode).emit("account.updated", shape(account, connected=connected))
    if not connected or account.made_through != "v2":
        return
    if requirements(account) != wanted:
        emit_thin(ledger, REQUIREMENTS_UPDATED, account, livemode=livemode)
    if capability_status(account) != status and "merchant" in account.configurations:
        emit_thin(ledger, CAPABILITY_UPDATED, account, livemode=livemode)
