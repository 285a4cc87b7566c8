"""`maskline console`: the operator's way into the console of a running server."""

import click

from engine.api.admin.shapes import ConsoleLink
from engine.cli.client import with_admin
from engine.cli.options import admin_options
from engine.cli.output import show_answer
from engine.settings import Settings


@click.command()
@admin_options
def console(*, settings: Settings, as_json: bool) -> None:
    """Print a link that opens the console to all accounts, once, within five minutes."""
    link = with_admin(settings, lambda admin: admin.call("POST", "/console/links", answer=ConsoleLink))
    show_answer(link, link.url, as_json=as_json)
