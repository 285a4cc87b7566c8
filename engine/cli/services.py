"""`maskline service`: what the operator may set of a service beyond the public API."""

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from engine.api.admin.service_shapes import TWIML_OPTIONS, Options, ServiceChange, ServiceList, ServiceReport
from engine.api.admin.shapes import AccountList
from engine.cli.client import AdminClient, Query, account_named, service_named, with_admin
from engine.cli.files import text_of
from engine.cli.options import admin_options
from engine.cli.output import show_facts, show_json, show_table, yes_no
from engine.core.model.records import ServiceOptions
from engine.settings import Settings, field_meanings

_DOCUMENTS = {name.removesuffix("_twiml").replace("_", "-"): name for name in TWIML_OPTIONS}
_document = click.Choice(list(_DOCUMENTS))


class Services(msgspec.Struct, frozen=True):
    """Services of one account or of all."""

    services: tuple[ServiceReport, ...]


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an on and an off flag for each option of a service that is not a document."""
    meanings = field_meanings(ServiceOptions)
    for name in reversed(ServiceOptions.__struct_fields__):
        if name not in TWIML_OPTIONS:
            flag = name.replace("_", "-")
            command = click.option(f"--{flag}/--no-{flag}", default=None, help=meanings[name])(command)
    return command


@click.group()
def service() -> None:
    """Services: options that no application can set."""


@service.command("list")
@click.option("--account", metavar="SID|NAME", help="Of this account only.")
@admin_options
def list_services(*, account: str | None, settings: Settings, as_json: bool) -> None:
    """List services, newest first, with the options that are on."""

    async def work(admin: AdminClient) -> tuple[ServiceReport, ...]:
        if account is not None:
            return await _services_of(admin, account)
        accounts = (await admin.call("GET", "/accounts", answer=AccountList)).accounts
        return tuple([found for one in accounts for found in await _services_of(admin, one.sid)])

    found = with_admin(settings, work)
    if as_json:
        show_json(Services(found))
        return
    rows = [(one.sid, one.account_sid, one.unique_name, ", ".join(_settings_of(one))) for one in found]
    show_table(("SID", "account", "name", "options"), rows, none="there are no services")


@service.command()
@click.argument("service", metavar="SID|NAME")
@admin_options
def show(*, service: str, settings: Settings, as_json: bool) -> None:
    """Show a service: webhooks and options."""
    path = ("/services/", service_named(service))
    found = with_admin(settings, lambda admin: admin.call("GET", *path, answer=ServiceReport))
    _show(found, as_json=as_json)


@service.command("set")
@click.argument("service", metavar="SID|NAME")
@_flags
@click.option("--account-sms-stop-filter", is_flag=True, help="Stop words: what the account says.")
@click.option("--inserts-mexican-one/--no-inserts-mexican-one", default=None, help="Dial +52 as +521, as of old.")
@click.option(
    "--twiml-file",
    "documents",
    type=(_document, click.Path(path_type=Path, exists=True, dir_okay=False)),
    multiple=True,
    metavar=f"[{'|'.join(_DOCUMENTS)}] FILE",
    help="Answer with this TwiML where a call or message meets no session, no partner, or a closed session.",
)
@click.option("--no-twiml", "without", type=_document, multiple=True, help="Answer as the documentation says again.")
@admin_options
def change(
    *,
    service: str,
    account_sms_stop_filter: bool,
    inserts_mexican_one: bool | None,
    documents: tuple[tuple[str, Path], ...],
    without: tuple[str, ...],
    settings: Settings,
    as_json: bool,
    **flags: bool | None,
) -> None:
    """Change options of a service; what is not named stays."""
    options: Options = {name: value for name, value in flags.items() if value is not None}
    if account_sms_stop_filter:
        options["respect_sms_stop_filter"] = None
    options |= {_DOCUMENTS[name]: None for name in without}
    options |= {_DOCUMENTS[name]: text_of(file) for name, file in documents}
    body = ServiceChange(inserts_mexican_one=inserts_mexican_one, options=options)
    path = ("/services/", service_named(service))
    changed = with_admin(settings, lambda admin: admin.call("PATCH", *path, answer=ServiceReport, body=body))
    _show(changed, as_json=as_json)


async def _services_of(admin: AdminClient, account: str) -> tuple[ServiceReport, ...]:
    path = ("/accounts/", account_named(account), "/services")
    found: tuple[ServiceReport, ...] = ()
    query: Query = {}
    while True:
        page = await admin.call("GET", *path, answer=ServiceList, query=query)
        found += page.services
        if page.after is None:
            return found
        query = {"after": page.after}


def _settings_of(found: ServiceReport) -> list[str]:
    names = [name.replace("_", "-") for name, value in found.options.items() if value]
    return [*names, "inserts-mexican-one"] if found.inserts_mexican_one else names


def _show(found: ServiceReport, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    stop_filter = found.options["respect_sms_stop_filter"]
    show_facts(
        [
            ("service", found.sid),
            ("account", found.account_sid),
            ("name", found.unique_name),
            ("callback URL", found.callback_url),
            ("intercept URL", found.intercept_callback_url),
            ("out-of-session URL", found.out_of_session_callback_url),
            ("inserts mexican one", found.inserts_mexican_one),
            *((_named(name), value) for name, value in found.options.items() if name not in _SHOWN_APART),
            ("respect sms stop filter", "as the account" if stop_filter is None else yes_no(stop_filter)),
            *((_named(name), found.options[name]) for name in TWIML_OPTIONS),
        ]
    )


_SHOWN_APART = {"respect_sms_stop_filter", *TWIML_OPTIONS}


def _named(option: str) -> str:
    return option.replace("_", " ")
