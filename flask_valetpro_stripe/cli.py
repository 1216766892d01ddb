"""``flask stripe …``: what an operator does from a terminal."""

from __future__ import annotations

from typing import Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup

from . import connections
from .context import tenant_context
from .doctor import find_problems
from .enums import Mode
from .errors import ValetProStripeError
from .models import key_of
from .state import State, get_state

stripe_commands = AppGroup("stripe", help="Tenants' Stripe accounts, seen by the operator.")


def _tenant(state: State, wanted: str) -> Any:
    """Return the tenant with the primary key ``wanted``, as a person types it."""
    key: Any = sa.inspect(state.models.Tenant).primary_key[0]
    try:
        found = state.session.get(state.models.Tenant, key.type.python_type(wanted))
    except (ValueError, OverflowError, sa.exc.DataError):
        # Not a key at all, or a number that is too large for one.
        state.session.rollback()
        found = None
    if found is None:
        raise click.ClickException(f"There is no tenant {wanted}. 'flask stripe tenants' lists them.")
    return found


@stripe_commands.command("doctor")
@click.option("--online", is_flag=True, help="Also ask Stripe whether the keys work.")
def doctor(online: bool) -> None:
    """Name every misconfiguration with its fix. Exits with 1 if there is any."""
    problems = find_problems(get_state(), online=online)
    for problem in problems:
        click.echo(f"- {problem}")
    if problems:
        raise click.exceptions.Exit(1)
    click.echo("Nothing is misconfigured.")


@stripe_commands.command("tenants")
def tenants() -> None:
    """List every tenant with its connections."""
    state = get_state()
    for tenant in state.session.scalars(sa.select(state.models.Tenant)):
        click.echo(f"{key_of(tenant)}  active mode: {tenant.stripe_mode}")
        model = state.models.Connection
        for connection in state.session.scalars(
            sa.select(model).where(model.tenant_id == key_of(tenant), model.is_current).order_by(model.mode.desc())
        ):
            account = connection.account_id or "the platform's account"
            click.echo(f"  {connection.mode}  {connection.account_type}  {connection.status}  {account}")


@stripe_commands.command("platform-managed")
@click.argument("tenant")
@click.argument("switch", type=click.Choice(["on", "off"]))
def platform_managed(tenant: str, switch: str) -> None:
    """Let TENANT take payments on the platform's own account, or no longer."""
    state = get_state()
    row = _tenant(state, tenant)
    with tenant_context(row):
        try:
            if switch == "on":
                opened = connections.allow_platform(state, row, actor="operator")
                modes = ", ".join(connection.mode for connection in opened) or "no further mode"
                click.echo(f"Tenant {tenant} may use the platform's account in: {modes}.")
            else:
                ended = connections.forbid_platform(state, row, actor="operator")
                click.echo(f"Ended {ended} platform connections of tenant {tenant}.")
        except ValetProStripeError as error:
            raise click.ClickException(f"{error} {error.hint}") from None


@stripe_commands.command("disconnect")
@click.argument("tenant")
@click.option("--mode", type=click.Choice(list(Mode)), default=None, help="Only this mode; both without it.")
def disconnect(tenant: str, mode: str | None) -> None:
    """End TENANT's connections, and withdraw our access at Stripe."""
    state = get_state()
    row = _tenant(state, tenant)
    for each in [Mode(mode)] if mode else list(Mode):
        try:
            had = connections.disconnect(state, row, each, actor="operator")
        except ValetProStripeError as error:
            raise click.ClickException(f"{error} {error.hint}") from None
        click.echo(f"{each}: {'disconnected' if had else 'was not connected'}.")


@stripe_commands.command("sandbox")
@click.option("--port", default=4242, show_default=True, help="Port on 127.0.0.1.")
def sandbox(port: int) -> None:
    """Serve a Stripe of your own, with this app's keys: connect, pay, and get signed webhooks, without an account."""
    from .testing import Simulator

    address = f"http://127.0.0.1:{port}"
    if not current_app.config.get("VALETPRO_STRIPE_TEST_SECRET_KEY"):
        raise click.ClickException(
            "The app has no VALETPRO_STRIPE_TEST_SECRET_KEY. Make one up, as the README's app does: "
            "the simulator takes whatever keys the app has."
        )
    if get_state().config.api_base != address:
        click.echo(f"Note: set VALETPRO_STRIPE_API_BASE and VALETPRO_STRIPE_CONNECT_BASE to {address}.")
    simulator = Simulator.for_config(current_app.config, base_url=address)
    simulator.serve(port, ready=lambda: click.echo(f"A Stripe simulator listens on {address}. Stop it with Ctrl-C."))
