"""`maskline alerts`: the latest debugger events of an account."""

import click

from engine.api.admin.delivery_shapes import AlertList, AlertReport, AlertTail
from engine.api.alert_shapes import LogLevel
from engine.cli.client import account_named, query_of, with_admin
from engine.cli.durations import read_duration
from engine.cli.options import admin_options
from engine.cli.output import show_json, show_table
from engine.runtime import clock
from engine.settings import Settings


@click.group()
def alerts() -> None:
    """Debugger events: problems that no REST caller could get as an answer."""


@alerts.command("list")
@click.argument("account", metavar="SID|NAME")
@click.option("--level", type=click.Choice([LogLevel.ERROR.value, LogLevel.WARNING.value]), help="Of this level only.")
@click.option("--since", callback=read_duration, metavar="AGE", help="No older than this: 15m, 2h, 3d.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Show at most this many.")
@admin_options
def list_alerts(
    *, account: str, level: str | None, since: float | None, limit: int, settings: Settings, as_json: bool
) -> None:
    """List the latest events of an account, the newest last."""
    tail = AlertTail(
        level=None if level is None else LogLevel(level), since=None if since is None else clock() - since, limit=limit
    )
    path = ("/accounts/", account_named(account), "/alerts")
    found = with_admin(settings, lambda admin: admin.call("GET", *path, answer=AlertList, query=query_of(tail)))
    if as_json:
        show_json(found)
        return
    rows = [
        (one.date, one.level, str(one.code), one.resource_sid or one.session_sid or "", _text(one))
        for one in found.alerts
    ]
    show_table(("date", "level", "code", "about", "what happened"), rows, none="no events found")


def _text(alert: AlertReport) -> str:
    if alert.webhook_url is None:
        return f"{alert.message}: {alert.sender or 'somebody'} to {alert.proxy}" if alert.proxy else alert.message
    answer = alert.webhook_problem or (f"answered {alert.webhook_status}" if alert.webhook_status else "no answer")
    return f"{alert.message}: {alert.webhook_url} {answer}"
