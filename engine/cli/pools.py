"""`maskline pool`: how full the pools of a running server are."""

import click

from engine.api.admin.pools import PoolLine, PoolList, PoolQuery, UnusedNumber
from engine.cli.client import query_of, with_admin
from engine.cli.durations import ago
from engine.cli.options import admin_options
from engine.cli.output import show_json, show_table, yes_no
from engine.settings import Settings


@click.group()
def pool() -> None:
    """Pools: the proxy numbers of services."""


@pool.command()
@click.option("--account", metavar="SID|NAME", help="Of this account only.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Show at most this many.")
@click.option("--unused", is_flag=True, help="Name the numbers that were never used.")
@admin_options
def report(*, account: str | None, limit: int, unused: bool, settings: Settings, as_json: bool) -> None:
    """Tell which pools are full or fill, and who has the most of their numbers; the most saturated first.

    At a saturation of 100 % the next session of that person is refused (80208). `full in` is an estimate, from how the
    pool filled over the last hour; it is known of the fullest pools of each host.
    A number was never used if no session on record has had it; closed ones are on record for `retention_days`.
    """
    query = query_of(PoolQuery(account_sid=account, limit=limit, unused=unused))
    found = with_admin(settings, lambda admin: admin.call("GET", "/pools", answer=PoolList, query=query))
    if as_json:
        show_json(found)
        return
    if unused:
        rows = [_unused_row(pool, one) for pool in found.pools for one in pool.unused_numbers]
        show_table(("service", "number", "SID", "reserved", "owned since"), rows, none="every number has been used")
    else:
        show_table(_COLUMNS, [_row(one) for one in found.pools], none="there are no pools")
    if any(one.never_used is None for one in found.pools):
        click.echo("there was no time to look at all sessions: not known of every pool", err=True)
    if found.count > len(found.pools):
        click.echo(f"{found.count - len(found.pools)} not shown")
    for name in found.silent:
        click.echo(f"{name} does not answer: its pools are not listed", err=True)


_COLUMNS = (
    "SID",
    "service",
    "saturation",
    "full in",
    "busiest",
    "holds",
    "free",
    "in use",
    "reserved",
    "never used",
    "sessions",
)


def _row(one: PoolLine) -> tuple[str, ...]:
    return (
        one.service_sid,
        one.service,
        f"{one.saturation:.0%}",
        "" if one.full_in_seconds is None else "now" if not one.full_in_seconds else ago(one.full_in_seconds),
        one.busiest or "",
        str(one.busiest_holds),
        str(one.free),
        str(one.in_use),
        str(one.reserved),
        "?" if one.never_used is None else str(one.never_used),
        str(one.active_sessions),
    )


def _unused_row(pool: PoolLine, one: UnusedNumber) -> tuple[str, ...]:
    return (pool.service, one.number, one.sid, yes_no(one.is_reserved), one.date_created)
