"""`maskline account`: make accounts, read them, change their settings."""

import click

from engine.api.admin.shapes import (
    AccountChange,
    AccountCreate,
    AccountCreated,
    AccountDeleted,
    AccountList,
    AccountShape,
    TokenRotate,
    TokenRotated,
)
from engine.cli.client import AdminClient, Named, Query, account_named, is_empty, with_admin
from engine.cli.durations import read_duration
from engine.cli.options import admin_options
from engine.cli.output import show_answer, show_facts, show_json, show_table, yes_no
from engine.cli.tree import Refused
from engine.settings import Settings


@click.group()
def account() -> None:
    """Accounts: tenants that see nothing of one another."""


@account.command()
@click.option("--name", default="", help="Free text that tells accounts apart.")
@click.option("--allow-participant-conflict", is_flag=True, help="Let a pair be active twice, newest session wins.")
@click.option("--respect-sms-stop-filter", is_flag=True, help="Let each number's own stop filtering decide.")
@click.option("--argentina", is_flag=True, help='Insert the mobile "9" on calls to Argentina.')
@admin_options
def create(*, name: str, settings: Settings, as_json: bool, **flags: bool) -> None:
    """Make an account; prints its SID and, this once, its auth token.

    The first account of an installation may be made before its server runs: it makes the data directory.
    """
    body = AccountCreate(friendly_name=name, **flags)
    is_new = is_empty(settings)

    async def work(admin: AdminClient) -> tuple[AccountCreated, list[str]]:
        before = (await admin.call("GET", "/accounts", answer=AccountList)).accounts if name else ()
        namesakes = [one.sid for one in before if one.friendly_name == name]
        return await admin.call("POST", "/accounts", answer=AccountCreated, body=body), namesakes

    created, namesakes = with_admin(settings, work, may_create=True)
    if namesakes:
        others = ", ".join(namesakes)
        click.echo(f"this is another account: {others} has the name {name!r} too, so name each by its SID", err=True)
    if as_json:
        show_json(created)
        return
    if is_new:
        click.echo(f"made the data directory {settings.data_dir}", err=True)
    show_facts([*_facts(created.account), ("auth token", f"{created.auth_token}  (shown this once: keep it)")])


@account.command("list")
@admin_options
def list_accounts(*, settings: Settings, as_json: bool) -> None:
    """List all accounts, oldest first."""
    found = with_admin(settings, lambda admin: admin.call("GET", "/accounts", answer=AccountList))
    if as_json:
        show_json(found)
        return
    rows = [
        (
            one.sid,
            one.friendly_name,
            yes_no(one.allow_participant_conflict),
            yes_no(one.respect_sms_stop_filter),
            yes_no(one.argentina),
            one.date_created,
            one.date_disabled or "",
        )
        for one in found.accounts
    ]
    columns = ("SID", "name", "conflicts", "own stop filter", "argentina", "created", "disabled")
    show_table(columns, rows, none="there are no accounts: maskline account create makes one")


@account.command()
@click.argument("account", metavar="SID|NAME")
@admin_options
def show(*, account: str, settings: Settings, as_json: bool) -> None:
    """Show an account and its settings."""
    path = ("/accounts/", account_named(account))
    found = with_admin(settings, lambda admin: admin.call("GET", *path, answer=AccountShape))
    _show(found, as_json=as_json)


@account.command("set")
@click.argument("account", metavar="SID|NAME")
@click.option("--name", help="Free text that tells accounts apart.")
@click.option(
    "--allow-participant-conflict/--no-allow-participant-conflict", default=None, help="Conflicts (see create)."
)
@click.option("--respect-sms-stop-filter/--no-respect-sms-stop-filter", default=None, help="Stop words (see create).")
@click.option("--argentina/--no-argentina", default=None, help="Argentine mobiles (see create).")
@click.option("--debugger-url", metavar="URL", help='Where its debugger events are posted; "" = nowhere.')
@admin_options
def change(
    *, account: str, name: str | None, debugger_url: str | None, settings: Settings, as_json: bool, **flags: bool | None
) -> None:
    """Change an account's settings; what is not named stays."""
    body = AccountChange(friendly_name=name, debugger_url=debugger_url, **flags)
    path = ("/accounts/", account_named(account))
    changed = with_admin(settings, lambda admin: admin.call("PATCH", *path, answer=AccountShape, body=body))
    _show(changed, as_json=as_json)


@account.command("rotate-token")
@click.argument("account", metavar="SID|NAME")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    callback=read_duration,
    metavar="TIME",
    help="How long the token before is good as well (90s, 15m, 2h, 3d); it signs webhooks until then. 0s = not at all.",
)
@click.option("--instead", "is_instead", is_flag=True, help="While two are good: in the place of the newer one.")
@click.option("--finish", is_flag=True, help="Make no token; end the one before now.")
@admin_options
def rotate_token(
    *, account: str, overlap: float, is_instead: bool, finish: bool, settings: Settings, as_json: bool
) -> None:
    """Give an account a fresh auth token; prints it, this once."""
    path = ("/accounts/", account_named(account), "/token")
    if finish:
        _show(with_admin(settings, lambda admin: _finished(admin, account_named(account))), as_json=as_json)
        return
    body = TokenRotate(overlap_seconds=overlap, is_instead=is_instead)
    rotated = with_admin(settings, lambda admin: admin.call("POST", *path, answer=TokenRotated, body=body))
    if as_json:
        show_json(rotated)
        return
    show_facts([*_facts(rotated.account), ("new auth token", f"{rotated.auth_token}  (shown this once: keep it)")])


@account.command()
@click.argument("account", metavar="SID|NAME")
@admin_options
def disable(*, account: str, settings: Settings, as_json: bool) -> None:
    """Let an account do nothing: no REST, no feed, no console, and nothing is routed on its numbers."""
    path = ("/accounts/", account_named(account), "/disable")
    _show(with_admin(settings, lambda admin: admin.call("POST", *path, answer=AccountShape)), as_json=as_json)


@account.command()
@click.argument("account", metavar="SID|NAME")
@admin_options
def enable(*, account: str, settings: Settings, as_json: bool) -> None:
    """Let a disabled account do what it did before."""
    path = ("/accounts/", account_named(account), "/enable")
    _show(with_admin(settings, lambda admin: admin.call("POST", *path, answer=AccountShape)), as_json=as_json)


@account.command()
@click.argument("account", metavar="SID|NAME")
@click.option("--everything", is_flag=True, help="Its services with their sessions, and its numbers, too.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@admin_options
def delete(*, account: str, everything: bool, is_sure: bool, settings: Settings, as_json: bool) -> None:
    """Erase a disabled account for good: keys, debugger events, its entries in the outbox."""
    path = ("/accounts/", account_named(account))
    if not is_sure:
        found = with_admin(settings, lambda admin: admin.call("GET", *path, answer=AccountShape))
        if found.date_disabled is None:
            raise Refused("The account is active: disable it first")
        what = f"{found.sid} {found.friendly_name!r}{' with services, sessions and numbers' if everything else ''}"
        click.confirm(f"delete {what} for good?", abort=True, err=True)
    query: Query = {"everything": str(everything).lower()}
    deleted = with_admin(settings, lambda admin: admin.call("DELETE", *path, answer=AccountDeleted, query=query))
    show_answer(deleted, f"deleted {account}, {deleted.services} services, {deleted.numbers} numbers", as_json=as_json)


async def _finished(admin: AdminClient, account: Named) -> AccountShape:
    found = await admin.call("GET", "/accounts/", account, answer=AccountShape)
    if found.previous_token_ends is None:
        raise Refused("Only one token is good: there is none before it that could be ended")
    return await admin.call("DELETE", "/accounts/", account, "/token", answer=AccountShape)


def _show(found: AccountShape, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show_facts(_facts(found))


def _facts(found: AccountShape) -> list[tuple[str, object]]:
    return [
        ("account", found.sid),
        ("name", found.friendly_name or None),
        ("conflicts allowed", found.allow_participant_conflict),
        ("own stop filter", found.respect_sms_stop_filter),
        ("argentina", found.argentina),
        ("debugger webhook", found.debugger_url),
        ("created", found.date_created),
        ("disabled", found.date_disabled),
        ("token before is good until", found.previous_token_ends),
    ]
