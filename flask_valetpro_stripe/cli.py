"""``flask stripe …``: what an operator does from a terminal about tenants, their connections and secrets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup

from . import audit, connections, neutralize, rekey
from .context import tenant_context
from .doctor import find_problems
from .enums import Mode
from .errors import ValetProStripeError
from .models import key_of
from .secrets.make import chosen_store
from .state import State, get_state

stripe_commands = AppGroup("stripe", help="Tenants' Stripe accounts, seen by the operator.")


@contextmanager
def told_plainly() -> Iterator[None]:
    """Let an error of ours end the command with its message and its hint."""
    try:
        yield
    except ValetProStripeError as error:
        raise click.ClickException(f"{error} {error.hint}") from None


def find_tenant(state: State, wanted: str) -> Any:
    """Return the tenant with the primary key ``wanted``, as a person types it."""
    need_tables(state)
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


def need_tables(state: State) -> None:
    """End the command where it would meet a database that was never upgraded: often it is another than was meant."""
    table: Any = sa.inspect(state.models.Tenant).local_table
    connection = state.session.connection()
    if not sa.inspect(connection).has_table(table.name, schema=table.schema):
        raise click.ClickException(
            f"The database {connection.engine.url.render_as_string()} has no table {table.fullname}. Run "
            "'flask db upgrade', or let the app use the database that you mean."
        )


def _name_of(tenant: Any) -> str:
    """Return what a list adds for people, where the host's tenants have a name."""
    name = getattr(tenant, "name", None)
    return f"  {name}" if isinstance(name, str) else ""


def progress_bar(length: int) -> Any:
    """Return a progress bar, seen only on a terminal, and apart from what the command prints."""
    return click.progressbar(length=length, file=sys.stderr, hidden=not sys.stderr.isatty())


def end_with(problems: list[str], *, failed: bool = False) -> None:
    for problem in problems:
        click.echo(f"- {problem}", err=True)
    if problems or failed:
        raise click.exceptions.Exit(1)


@stripe_commands.command("doctor")
@click.option("--online", is_flag=True, help="Also ask Stripe whether the keys work, and the secret stores.")
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
    need_tables(state)
    for tenant in state.session.scalars(sa.select(state.models.Tenant)):
        click.echo(f"{key_of(tenant)}  active mode: {tenant.stripe_mode}{_name_of(tenant)}")
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
    row = find_tenant(state, tenant)
    with tenant_context(row), told_plainly():
        if switch == "on":
            opened = connections.allow_platform(state, row, actor="operator")
            click.echo(_lent(tenant, [str(connection.mode) for connection in opened]))
        else:
            ended = connections.forbid_platform(state, row, actor="operator")
            click.echo(f"Ended {ended} platform connections of tenant {tenant}.")


def _lent(tenant: str, modes: list[str]) -> str:
    if modes:
        return f"Tenant {tenant} may use the platform's account in: {', '.join(modes)}."
    return (
        f"Nothing was changed: in every mode that the platform has a key for, tenant {tenant} has a connection "
        f"already. 'flask stripe tenants' shows it, 'flask stripe disconnect {tenant}' ends its own."
    )


@stripe_commands.command("disconnect")
@click.argument("tenant")
@click.option("--mode", type=click.Choice(list(Mode)), default=None, help="Only this mode; both without it.")
def disconnect(tenant: str, mode: str | None) -> None:
    """End TENANT's connections, and withdraw our access at Stripe."""
    state = get_state()
    row = find_tenant(state, tenant)
    for each in [Mode(mode)] if mode else list(Mode):
        with told_plainly():
            had = connections.disconnect(state, row, each, actor="operator")
        click.echo(f"{each}: {'disconnected' if had else 'was not connected'}.")


@stripe_commands.command("audit-verify")
@click.option("--heads", is_flag=True, help="Print where each chain ends, to be kept outside of the database.")
@click.option("--against", type=click.File(), help="Also compare with what --heads printed earlier.")
def audit_verify(heads: bool, against: IO[str] | None) -> None:
    """Follow each tenant's chain of audit entries, and name the first one that is not as it was written.

    The end of a chain can be cut off without a trace in the database. Keep what --heads prints somewhere else, and
    give it to --against later.
    """
    try:
        kept = [audit.Head.parse(line) for line in against or [] if line.strip()]
    except ValueError:
        raise click.ClickException("The file for --against holds something else than --heads prints.") from None
    chains = list(audit.verify(get_state(), kept))
    for chain in chains:
        if chain.problem:
            click.echo(f"- Tenant {chain.head.tenant}: {chain.problem}.", err=heads)
        elif heads:
            click.echo(str(chain.head))
    if any(chain.problem for chain in chains):
        raise click.exceptions.Exit(1)
    if not heads:
        entries, tenants = sum(chain.entries for chain in chains), len(chains)
        click.echo(f"{entries} entries of {tenants} tenants are unchanged.")


@stripe_commands.command("neutralize")
@click.option("--yes", is_flag=True, help="Do not ask.")
def neutralize_copy(yes: bool) -> None:
    """Make a copied database unable to act in live mode. Never run it on the original.

    Neither Stripe nor a vault is told: what is there belongs to the original. Test mode works on, for raw-key tenants
    after their admins have saved their test keys again: the webhook endpoints there are the original's. Test keys that
    this app has no encryption key for are forgotten. If keys rest in a vault, let this app only read there: its test
    keys are the original's too.
    """
    state = get_state()
    harmful = neutralize.find_harmful(state)
    state.session.commit()
    click.echo(f"In the database of {state.config.public_url}, this will")
    click.echo(f"- end {harmful.connections} live connections, without telling Stripe;")
    click.echo(f"- forget {harmful.secrets} live secrets, without touching a vault;")
    click.echo(f"- put {harmful.tenants} tenants from live into test mode;")
    click.echo(f"- give up {harmful.operations} unfinished live calls, and {harmful.oauth_states} started connections.")
    if not yes:
        click.confirm("It cannot be undone. Is this a copy?", abort=True)
    neutralize.neutralize(state)
    click.echo("This database can no longer act in live mode.")


@stripe_commands.command("moved")
@click.option("--yes", is_flag=True, help="Do not ask.")
def moved(yes: bool) -> None:
    """Let every connection act for this app's present address, after the app has moved. Never run it on a copy.

    Webhook endpoints in tenants' own accounts are made anew there. Exits with 1 if one could not be.
    """
    state = get_state()
    found = neutralize.find_moved(state)
    click.echo(f"{len(found)} connections will act for {state.config.public_url}.")
    if found and not yes:
        state.session.commit()
        click.confirm("Has the app moved there, with its only database?", abort=True)
    failed = 0
    for connection in found:
        tenant, mode = connection.tenant_id, connection.mode
        try:
            if not neutralize.move(state, connection):
                click.echo(
                    f"- Tenant {tenant}, {mode}: the webhook was made by hand. Its admin gives it the new address."
                )
        except ValetProStripeError as error:
            state.session.rollback()
            failed += 1
            click.echo(f"- Tenant {tenant}, {mode}: not moved. {error} {error.hint}")
    if found:
        click.echo(
            "In the platform's own Stripe Dashboard, give its webhook endpoints and its OAuth redirect URI the new "
            "address too."
        )
    if failed:
        raise click.exceptions.Exit(1)


@stripe_commands.command("rotate-kek")
def rotate_kek() -> None:
    """Encrypt all secrets in the database under the newest key of ENCRYPTION_KEYS, while the app runs."""
    state = get_state()
    with told_plainly():
        with progress_bar(rekey.count_old(state)) as bar:
            problems = rekey.rotate(state, bar.update)
        newest, *older = rekey.rows_per_key(state).items()
    click.echo(f"{newest[0]}: {newest[1]} rows. This is the newest key.")
    for key_id, rows in older:
        advice = (_ROWS_LEFT if rows else _NO_ROWS_LEFT) if key_id else _LOST_ROWS
        click.echo(f"{key_id or 'no key of ENCRYPTION_KEYS'}: {rows} rows — {advice}")
    end_with(problems, failed=any(rows for _, rows in older))


_LOST_ROWS = "damaged, or their key is missing. Their tenants enter their keys again on the payment settings page."
_NO_ROWS_LEFT = "may be removed from ENCRYPTION_KEYS, once no process runs with the old list. Backups still need it."
_ROWS_LEFT = "still needed. Restart every process that has another key first in its list, and run this again."


@stripe_commands.command("move-secrets")
@click.option("--to", "name", required=True, metavar="NAME", help="The store that they shall rest in.")
def move_secrets(name: str) -> None:
    """Move all secrets to the store NAME: database, aws, gcp, vault, or the app's own. The app may run meanwhile."""
    state = get_state()
    if name not in state.stores:
        raise click.ClickException(
            f"This app has no secret store {name!r}; it has: {', '.join(state.stores)}. Name a vault under 'others' in "
            f"VALETPRO_STRIPE_SECRET_STORE_OPTIONS: {{'others': {{{name!r}: {{…its options…}}}}}}. The 'database' is "
            "there once VALETPRO_STRIPE_ENCRYPTION_KEYS is set, your own store once VALETPRO_STRIPE_SECRET_STORE is."
        )
    with told_plainly():
        waiting = sum(rows for store, rows in rekey.rows_per_store(state).items() if store != name)
        with progress_bar(waiting) as bar:
            problems = rekey.move(state, state.stores[name], bar.update)
        counts = rekey.rows_per_store(state)
    for store in sorted({*counts, name}):
        # What stands in a damaged row may be anything, also what a terminal takes for a command.
        shown = store if store.isidentifier() else ascii(store)
        click.echo(f"{shown}: {counts.get(store, 0)} rows")
    if name != (chosen := chosen_store(state.stores).name):
        click.echo(f"New secrets still go to {chosen!r}: set VALETPRO_STRIPE_SECRET_STORE to {name!r} to change that.")
    if not problems and set(counts) - {name}:
        problems = ["Some secrets were added or changed meanwhile. Run this again to move them, too."]
    end_with(problems)


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
