"""`maskline account`: make accounts, read them, change their settings."""

import click

from engine.cli.client import account_named, with_admin
from engine.cli.options import admin_options
from engine.cli.output import show_facts, show_json, show_table, yes_no
from engine.settings import Settings
from engine.wire.admin import AccountChange, AccountCreate, AccountCreated, AccountList, AccountShape
from storage.layout import has_data


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
    is_new = not has_data(settings.data_dir)
    created = with_admin(
        settings, lambda admin: admin.call("POST", "/accounts", answer=AccountCreated, body=body), may_create=True
    )
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
        )
        for one in found.accounts
    ]
    show_table(("SID", "name", "conflicts", "own stop filter", "argentina", "created"), rows)


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
    ]
