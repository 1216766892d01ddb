"""Who is locked before an event's own row: the tenants whose connections its handlers may change."""

from __future__ import annotations

from typing import Final

from .. import audit
from ..connections import living_connections
from ..enums import Mode
from ..state import State
from .route import Route
from .verify import TENANTS_OWN

#: How the types of events begin whose handlers change connections.
ABOUT_ACCOUNTS: Final = ("account.", "v2.core.account")


def lock_tenants_first(state: State, found: Route, scope: str, account_id: str | None, event_type: str) -> None:
    """Lock all whom handlers of accounts will lock: the row that is written now holds a connection, tenants go first.

    In the order of their keys as text, as everybody does who locks several.
    """
    if found.parked is not None or not event_type.startswith(ABOUT_ACCOUNTS):
        return
    tenants = {found.tenant_id}
    if account_id is not None and not scope.startswith(TENANTS_OWN):
        mode = found.connection.mode if found.connection else None
        tenants |= {c.tenant_id for m in Mode if mode in (None, m) for c in living_connections(state, account_id, m)}
    for tenant_id in sorted(tenants - {None}, key=str):
        audit.lock_tenant(state, tenant_id)
