"""`maskline demo`: the main job on recorded traffic, in a temporary directory."""

import sys

import click

from engine.cli.output import console
from engine.cli.tree import REFUSED
from engine.demo.run import DemoOptions, run_demo
from engine.settings import load_settings


@click.command()
@click.option("--once", "is_once", is_flag=True, help="End after the traffic; exit code 1 when a decision differs.")
@click.option("--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Port 0 = a free one.")
@click.option("--json", "as_json", is_flag=True, help="Report in JSON.")
def demo(*, is_once: bool, listen: str, as_json: bool) -> None:
    """Play a recorded day of calls and messages through a fresh engine and hold every decision against the file.

    Everything is real but the people: the REST interface sets the scene up, the webhooks are signed and go through
    the HTTP listener, the engine commits to disk. Then it serves until Ctrl-C, to be tried by hand.
    """
    address = load_settings(config=None, environ={}, flags={"listen": listen}).settings.listen
    options = DemoOptions(listen=address, is_once=is_once, as_json=as_json, program=sys.argv[0])
    report = run_demo(options, console())
    if report.differences:
        raise SystemExit(REFUSED)
