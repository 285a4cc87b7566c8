"""`maskline serve`: run the engine until a signal stops it."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

import click

from engine.app import serve_until_stopped
from engine.cli.options import setting_options, settings_from
from engine.cli.tree import REFUSED, UNTRIED
from engine.core.model.errors import MasklineError
from engine.settings import LogFormat, Runtime, Settings, render_settings, with_carrier_secrets
from engine.telemetry.logs import ROOT, configure_logs, json_line

_log = logging.getLogger(f"{ROOT}.engine")

Say = Callable[[str], None]


@click.command()
@click.option("--print-settings", is_flag=True, help="Print the settings as TOML, with meaning and origin, and exit.")
@setting_options
def serve(*, print_settings: bool, config: Path | None, **flags: object) -> None:
    """Run the engine: REST, inbound webhooks and metrics on one port.

    With --runtime ray it runs as a cluster of --hosts N, on a Ray of its own or the one at --address.

    Every option is also a key of the TOML file and, in capitals after MASKLINE_, an environment variable. SIGTERM,
    SIGHUP or Ctrl-C stops accepting, finishes what is in flight, commits, and ends within 5 seconds.
    """
    loaded = settings_from(config=config, **flags)
    if print_settings:
        click.echo(render_settings(loaded), nl=False)
        return
    as_json = loaded.settings.log_format is LogFormat.JSON
    out, err = sys.stdout, sys.stderr
    if loaded.settings.runtime is Runtime.RAY:
        out, err = own(out), own(err)
    configure_logs(as_json=as_json, level=loaded.settings.log_level, stream=err)
    log_what_is_uncaught()
    if loaded.service_links:
        _log.info("passed over, being what Kubernetes says of a Service: %s", ", ".join(loaded.service_links))
    try:
        _serve(
            with_carrier_secrets(loaded, os.environ),
            announce=partial(_print, to=out, as_json=as_json),
            progress=partial(_print, to=err, as_json=as_json),
        )
    except MasklineError as problem:
        if not as_json:
            raise
        _print(str(problem), to=err, as_json=True, level=logging.ERROR)
        raise click.exceptions.Exit(UNTRIED) from problem
    except KeyboardInterrupt as end:
        _print("maskline: stopped while it started", to=err, as_json=as_json)
        raise click.exceptions.Exit(REFUSED) from end


def _serve(settings: Settings, *, announce: Say, progress: Say) -> None:
    if settings.runtime is Runtime.RAY:
        from engine.cluster.serving import serve_cluster  # noqa: PLC0415 - the embedded engine needs none of it

        serve_cluster(settings, announce, progress)
    else:
        serve_until_stopped(settings, announce)


def own(stream: TextIO) -> TextIO:
    """Return a stream to where this one leads, for what is ours: Ray writes to the descriptors themselves."""
    try:
        copy = os.dup(stream.fileno())
    except (OSError, ValueError):
        return stream  # closed, or no file
    return open(copy, "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False)


def log_what_is_uncaught() -> None:
    """Have the traceback of a fault of ours in the log, in its form and with numbers masked."""
    text = "an unforeseen error"
    sys.excepthook = lambda kind, fault, trace: _log.critical(text, exc_info=(kind, fault, trace))
    threading.excepthook = lambda found: _log.critical(
        text, exc_info=(found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback)
    )
    logging.captureWarnings(capture=True)


def _print(line: str, *, to: TextIO, as_json: bool, level: int = logging.INFO) -> None:
    """Write a line to whoever looks; a server does not end because nobody does."""
    try:
        click.echo(json_line(line, level) if as_json else line, file=to)
    except OSError as problem:
        _log.warning("cannot write %r: %s", line, problem.strerror)
