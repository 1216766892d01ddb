"""Who did what to a tenant's connection, written in the same transaction as the act."""

from __future__ import annotations

from typing import Any

from .models import Connection
from .state import State


def record(
    state: State, *, tenant_id: Any, actor: str, action: str, connection: Connection | None = None, **detail: Any
) -> None:
    """Add an entry about a tenant to the session; ``detail`` never holds a key or a token."""
    state.session.add(
        state.models.AuditEntry(
            tenant_id=tenant_id,
            connection_id=connection.id if connection else None,
            actor=actor,
            action=action,
            detail=detail,
        )
    )
