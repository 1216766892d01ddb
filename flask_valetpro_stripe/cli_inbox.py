"""``flask stripe …``: what an operator does from a terminal about the inbox."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Final

import click
import sqlalchemy as sa
from babel.dates import format_timedelta

from . import monitoring
from .cli import end_with, find_tenant, need_tables, progress_bar, stripe_commands
from .enums import EventStatus, Mode
from .errors import ValetProStripeError
from .handlers import FETCHERS
from .models import WebhookEvent, key_of
from .models.types import utcnow
from .state import State, get_state
from .webhooks import prune, reconcile, replay, worker
from .webhooks.health import Health, Verdict, health_of, overview

# The commands below are added to it by being defined.
__all__ = ["stripe_commands"]


@stripe_commands.command("reconcile")
@click.option("--tenant", default=None, help="Only this tenant.")
@click.option("--mode", type=click.Choice(list(Mode)), default=None, help="Only this mode; both without it.")
def reconcile_missed(tenant: str | None, mode: str | None) -> None:
    """Ask Stripe for what may have been missed: events, unanswered calls, open payments, tenants' webhook endpoints.

    Run it every hour, from cron for example; several at once do no harm. Exits with 1 if something is left to do.
    """
    state = get_state()
    need_tables(state)
    chosen = None if tenant is None else key_of(find_tenant(state, tenant))
    with progress_bar(0) as bar:

        def lengthen(steps: int) -> None:
            bar.length += steps

        scope = reconcile.Scope(state, FETCHERS, chosen, None if mode is None else Mode(mode))
        report = reconcile.reconcile(scope, on_found=lengthen, on_done=bar.update)
    for what, count in report.done.items():
        click.echo(f"{what}: {count}")
    for note in report.notes:
        click.echo(f"- {note}")
    end_with(report.problems)


@stripe_commands.command("health")
@click.option("--tenant", default=None, help="Only this tenant.")
@click.option("--mode", type=click.Choice(list(Mode)), default=None, help="Only this mode; both without it.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def tell_health(tenant: str | None, mode: str | None, as_json: bool) -> None:
    """Say how each tenant's events are: a verdict, and what to do. Exits with 1 if somebody has to do something."""
    state, modes = get_state(), [Mode(mode)] if mode else list(Mode)
    need_tables(state)
    if tenant is None:
        found = [each for each in overview(state) if each.mode in modes]
    else:
        found = [health_of(state, find_tenant(state, tenant), each) for each in modes]
    if as_json:
        click.echo(json.dumps(monitoring.as_json(found), indent=2))
    else:
        click.echo("\n".join([*_table(found), *_advice(found)]) or "No tenant has a connection or an event.")
    end_with([], failed=any(each.needs_person for each in found))


def _table(found: list[Health]) -> Iterator[str]:
    if not found:
        return
    rows = [_HEADINGS, *(_cells(each) for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


_HEADINGS: Final = ("tenant", "mode", "verdict", "last event", "waiting", "failed", "dead", "fetched")


def _cells(one: Health) -> tuple[str, ...]:
    last = one.last_received_at
    ago = "never" if last is None else format_timedelta(last - utcnow(), add_direction=True, locale="en")
    counts = (one.waiting, one.failed, one.dead, one.missed)
    return (_key(one), one.mode, one.verdict, str(ago), *map(str, counts))


def _key(one: Health) -> str:
    return "(platform)" if one.tenant_id is None else str(one.tenant_id)


def _advice(found: list[Health]) -> Iterator[str]:
    for each in found:
        if each.verdict not in (Verdict.healthy, Verdict.idle):
            yield f"- {_key(each)}, {each.mode}: {each.says} {each.remedy}".rstrip()


@stripe_commands.command("worker")
@click.option("--once", is_flag=True, help="End when nothing is due any more.")
def work_off(once: bool) -> None:
    """Handle stored events, and those that failed when it is their time, until SIGTERM or SIGINT ends it.

    Run as many as you like: each event is one worker's at a time.
    """
    state, stop = get_state(), threading.Event()
    need_tables(state)
    for name in (signal.SIGTERM, signal.SIGINT):
        # The present event is finished first.
        signal.signal(name, lambda *_: stop.set())
    if not once:
        click.echo("Handling events as they are due. Ctrl-C ends it.")
        worker.keep_draining(state, FETCHERS, should_stop=stop.is_set, pause=stop.wait)
        return
    with progress_bar(worker.count_due(state)) as bar:
        done = worker.drain(state, FETCHERS, on_done=lambda _: bar.update(1), should_stop=stop.is_set)
    click.echo(", ".join(f"{number} {status}" for status, number in sorted(done.items())) or "Nothing was due.")


@stripe_commands.command("replay")
@click.argument("event_ids", nargs=-1, required=True, metavar="EVENT_ID…")
@click.option("--force", is_flag=True, help="Also those that were handled: what their handlers did is done again.")
def replay_events(event_ids: tuple[str, ...], force: bool) -> None:
    """Handle each EVENT_ID (evt_…, or the number of its row) once more. Exits with 1 if one is not processed then."""
    state, failed = get_state(), False
    need_tables(state)
    for wanted in event_ids:
        try:
            row = _event(state, wanted)
            status = replay.replay(state, row, FETCHERS, actor="operator", force=force)
            reason = f" {row.error}" if row.error else ""
            click.echo(f"{wanted}: {status}.{reason}")
            failed |= status is not EventStatus.processed
        except ValetProStripeError as error:
            state.session.rollback()
            click.echo(f"{wanted}: not replayed. {error} {error.hint}".rstrip())
            failed = True
    end_with([], failed=failed)


def _event(state: State, wanted: str) -> WebhookEvent:
    """Return the event with Stripe's id ``wanted``, or with that number: tenants may sign any id, so it may be several.

    :raises ValetProStripeError: if there is none, or not only one.
    """
    model = state.models.WebhookEvent
    is_number = wanted.isascii() and wanted.isdigit() and len(wanted) < 19
    rows = state.session.scalars(
        sa.select(model).where(model.id == int(wanted) if is_number else model.event_id == wanted)
    )
    found = list(rows)
    if not found:
        raise ValetProStripeError("There is no such event. It may have been pruned.")
    if len(found) > 1:
        each = "; ".join(f"{row.id} (by {row.scope}, tenant {row.tenant_id})" for row in found)
        raise ValetProStripeError(f"Several endpoints have an event of this id. Name one by its number: {each}.")
    return found[0]


@stripe_commands.command("prune")
def prune_old() -> None:
    """Delete what RETENTION_DAYS let go: bodies of events, old events, archived secrets. Run it daily."""
    state, now = get_state(), utcnow()
    need_tables(state)
    with progress_bar(prune.count_prunable(state, now)) as bar:
        done, problems = prune.prune(state, now, bar.update)
    for name in (prune.BODIES, prune.EVENTS, prune.STATES, prune.SECRETS):
        click.echo(f"deleted: {done[name]} {name}")
    end_with(problems)
