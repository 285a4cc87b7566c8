"""`maskline outbox`: what the outbox holds for webhooks and carriers, and what was given up."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from engine.api.admin.delivery_shapes import EffectReport, OutboxChanged, OutboxCount, OutboxPage, OutboxQuery
from engine.cli.client import AdminClient, demand_data, demand_file, query_of, with_admin
from engine.cli.durations import ago, read_duration
from engine.cli.options import admin_options
from engine.cli.output import show_answer, show_json, show_table
from engine.formats.values import parse_date
from engine.runtime import clock
from engine.settings import Settings
from storage.sqlite.holds import held_here, release_here

Command = TypeVar("Command", bound=Callable[..., Any])


class Change(msgspec.Struct, frozen=True):
    """What a replay or drop came to."""

    changed: int
    """Entries that were dead and were meant."""


class Released(msgspec.Struct, frozen=True):
    """What a release came to."""

    released: int
    """Databases that held their deliveries."""


@click.group()
def outbox() -> None:
    """Deliveries that are pending or dead: callbacks, debugger events, messages, hang-ups."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the filters; the command gets them as `query`."""

    @functools.wraps(command)
    def with_query(*, older_than: float | None, **arguments: Any) -> None:  # noqa: ANN401 - what click has parsed
        query = OutboxQuery(
            account_sid=arguments.pop("account"),
            service_sid=arguments.pop("service"),
            session_sid=arguments.pop("session"),
            created_before=None if older_than is None else clock() - older_than,
            error=arguments.pop("error"),
        )
        command(query=query, **arguments)

    with_query = click.option("--error", metavar="TEXT", help="Whose last error contains this.")(with_query)
    with_query = click.option(
        "--older-than", callback=read_duration, metavar="AGE", help="Owed for longer: 15m, 2h, 3d."
    )(with_query)
    with_query = click.option("--session", metavar="SID|NAME", help="Of this session.")(with_query)
    with_query = click.option("--service", metavar="SID|NAME", help="Of this service.")(with_query)
    return click.option("--account", metavar="SID|NAME", help="Of this account.")(with_query)


@outbox.command("list")
@_filters
@click.option("--dead/--pending", "is_dead", default=None, help="Only those given up, or only those not yet.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Show at most this many.")
@click.option("--after", metavar="EF…", help="Go on behind this one.")
@admin_options
def list_outbox(
    *, query: OutboxQuery, is_dead: bool | None, limit: int, after: str | None, settings: Settings, as_json: bool
) -> None:
    """List the outbox, oldest first, without contents, recipients and queries of URLs."""
    asked = msgspec.structs.replace(query, is_dead=is_dead, limit=limit, after=after)
    page = with_admin(settings, lambda admin: admin.call("GET", "/outbox", answer=OutboxPage, query=query_of(asked)))
    if as_json:
        show_json(page)
        return
    if held_here(settings.data_dir):
        click.echo("deliveries are held until maskline outbox release", err=True)
    columns = ("SID", "kind", "to", "about", "age", "tries", "state", "next try", "last error")
    show_table(columns, [_row(entry) for entry in page.effects], none="nothing in the outbox")
    if page.after is not None:
        click.echo(f"there are more: --after {page.after}")


@outbox.command()
@_filters
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@admin_options
def replay(*, query: OutboxQuery, is_sure: bool, settings: Settings, as_json: bool) -> None:
    """Deliver again what was given up, from the first try; the receiver knows repeats by their idempotency header."""
    _change("replay", query, settings, is_sure=is_sure, as_json=as_json)


@outbox.command()
@admin_options
def release(*, settings: Settings, as_json: bool) -> None:
    """Let leave what a restored backup owes, and all that comes after it; on each machine of a cluster.

    Servers that run begin within seconds. What was delivered after the backup was made is delivered again, under the
    same idempotency header.
    """
    demand_file(settings, "nothing of a database is held")
    demand_data(settings)
    released = release_here(settings.data_dir)
    show_answer(Released(released), "released" if released else "nothing was held", as_json=as_json)


@outbox.command()
@_filters
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@admin_options
def drop(*, query: OutboxQuery, is_sure: bool, settings: Settings, as_json: bool) -> None:
    """Forget what was given up: it is never delivered."""
    _change("drop", query, settings, is_sure=is_sure, as_json=as_json)


def _change(verb: str, query: OutboxQuery, settings: Settings, *, is_sure: bool, as_json: bool) -> None:
    dead = msgspec.structs.replace(query, is_dead=True)
    if not is_sure:
        found = with_admin(
            settings, lambda admin: admin.call("GET", "/outbox/count", answer=OutboxCount, query=query_of(dead))
        )
        many = f"{found.count}" if found.is_whole else f"more than {found.count}"
        if found.count:
            click.confirm(
                f"{verb} {many} dead {'delivery' if found.count == 1 else 'deliveries'}?", abort=True, err=True
            )
    changed = with_admin(settings, lambda admin: _change_all(admin, verb, dead))
    show_answer(Change(changed), f"{changed} {'replayed' if verb == 'replay' else 'dropped'}", as_json=as_json)


async def _change_all(admin: AdminClient, verb: str, query: OutboxQuery) -> int:
    changed = 0
    while True:
        answer = await admin.call("POST", f"/outbox/{verb}", answer=OutboxChanged, query=query_of(query))
        changed += answer.changed
        if answer.after is None:
            return changed
        query = msgspec.structs.replace(query, after=answer.after)


def _row(entry: EffectReport) -> tuple[str, ...]:
    age = ago(clock() - parse_date(entry.date_created))
    state = "pending" if entry.date_died is None else "dead"
    about = entry.interaction_sid or entry.session_sid or ""
    to = f"{entry.destination}{entry.path}"
    return (entry.sid, entry.kind, to, about, age, str(entry.attempts), state, _next_try(entry), entry.last_error)


def _next_try(entry: EffectReport) -> str:
    if entry.date_died is not None:
        return "never"
    if entry.date_next is None:
        return "in turn"
    seconds = parse_date(entry.date_next) - clock()
    return "now" if seconds <= 0 else f"in {ago(seconds)}"
