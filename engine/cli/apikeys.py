"""`maskline apikey`: second credentials of an account, revocable one by one."""

import click

from engine.api.admin.shapes import ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyShape
from engine.cli.client import Named, account_named, with_admin
from engine.cli.options import admin_options
from engine.cli.output import show_facts, show_json, show_table
from engine.core.model.sids import SidKind
from engine.settings import Settings


@click.group()
def apikey() -> None:
    """API keys: credentials beside the account's own."""


@apikey.command()
@click.argument("account", metavar="SID|NAME")
@click.option("--name", default="", help="Free text that tells keys apart.")
@admin_options
def create(*, account: str, name: str, settings: Settings, as_json: bool) -> None:
    """Make a key; prints its SID and, this once, its secret."""
    path, body = ("/accounts/", account_named(account), "/keys"), ApiKeyCreate(friendly_name=name)
    created = with_admin(settings, lambda admin: admin.call("POST", *path, answer=ApiKeyCreated, body=body))
    if as_json:
        show_json(created)
        return
    show_facts([*_facts(created.key), ("secret", f"{created.secret}  (shown this once: keep it)")])


@apikey.command("list")
@click.argument("account", metavar="SID|NAME")
@admin_options
def list_keys(*, account: str, settings: Settings, as_json: bool) -> None:
    """List the keys of an account, oldest first, the revoked ones too."""
    path = ("/accounts/", account_named(account), "/keys")
    found = with_admin(settings, lambda admin: admin.call("GET", *path, answer=ApiKeyList))
    if as_json:
        show_json(found)
        return
    rows = [(key.sid, key.friendly_name, key.date_created, key.date_revoked or "") for key in found.keys]
    show_table(("SID", "name", "created", "revoked"), rows, none="the account has no API keys")


@apikey.command()
@click.argument("key", metavar="SID|NAME")
@admin_options
def revoke(*, key: str, settings: Settings, as_json: bool) -> None:
    """End a key at once; what was signed with it before stays done."""
    path = ("/keys/", Named(SidKind.API_KEY, key))
    revoked = with_admin(settings, lambda admin: admin.call("DELETE", *path, answer=ApiKeyShape))
    if as_json:
        show_json(revoked)
        return
    show_facts(_facts(revoked))


def _facts(key: ApiKeyShape) -> list[tuple[str, object]]:
    return [
        ("key", key.sid),
        ("account", key.account_sid),
        ("name", key.friendly_name or None),
        ("created", key.date_created),
        ("revoked", key.date_revoked),
    ]
