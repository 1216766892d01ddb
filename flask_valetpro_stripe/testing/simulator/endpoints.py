"""Webhook endpoints and the secrets that sign for them."""

from .changes import given, new_metadata
from .ids import new_id, new_webhook_secret
from .ledger import Json, Ledger, Record, Scope


def make_endpoint(scope: Scope, params: Json, *, secret: str | None = None, thin: bool = False) -> Record:
    """Store a webhook endpoint; its secret is shown once, in the answer to its creation.

    ``thin`` lets it hear v2's thin events too, as if it were an event destination as well.
    """
    connect = bool(params.get("connect"))
    endpoint = {
        "id": new_id("we"),
        "object": "webhook_endpoint",
        "api_version": given(params, "api_version"),
        # What tells the two kinds apart: nothing else in the object does.
        "application": scope.account.client_id(livemode=scope.livemode) if connect else None,
        "created": scope.now(),
        "description": given(params, "description"),
        "enabled_events": params["enabled_events"],
        "livemode": scope.livemode,
        "metadata": new_metadata(params),
        "status": "enabled",
        "url": params["url"],
    }
    # (secret, valid until); the last one is the current secret
    secrets = [(secret or new_webhook_secret(), None)]
    return scope.add(endpoint, connect=connect, secrets=secrets, thin=thin)


def roll_secret(ledger: Ledger, endpoint: str, *, keep_old: float) -> str:
    """Give an endpoint (by id or present secret) a new secret, and let the old one sign for a while longer."""
    for record in ledger.records.values():
        if record.kind == "webhook_endpoint" and endpoint in (record.data["id"], record.private["secrets"][-1][0]):
            secrets, until = record.private["secrets"], ledger.now() + keep_old
            secrets[:] = [(old, until if end is None else end) for old, end in secrets]
            secrets.append((new_webhook_secret(), None))
            return str(secrets[-1][0])
    raise LookupError("The simulator has no webhook endpoint with this id or secret.")


def disable_endpoint(ledger: Ledger, id: str) -> None:
    """Switch an endpoint off, as its owner or Stripe itself does in the dashboard; nothing is emitted."""
    endpoint = ledger.records.get(id)
    if endpoint is None or endpoint.kind != "webhook_endpoint" or endpoint.deleted:
        raise LookupError(f"The simulator has no webhook endpoint {id!r}.")
    endpoint.data["status"] = "disabled"
