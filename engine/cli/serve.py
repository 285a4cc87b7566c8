"""`maskline serve`: run the engine until a signal stops it."""

import logging
import os
from pathlib import Path

import click

from engine.app import serve_until_stopped
from engine.cli.options import setting_options, settings_from
from engine.settings import LogFormat, Runtime, render_settings, with_carrier_secrets
from engine.telemetry.logs import ROOT, configure_logs

_log = logging.getLogger(f"{ROOT}.engine")


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
    settings = with_carrier_secrets(loaded, os.environ)
    configure_logs(as_json=settings.log_format is LogFormat.JSON, level=settings.log_level)
    if loaded.service_links:
        _log.info("passed over, being what Kubernetes says of a Service: %s", ", ".join(loaded.service_links))
    if settings.runtime is Runtime.RAY:
        from engine.cluster.serving import serve_cluster  # noqa: PLC0415 - the embedded engine needs none of it

        serve_cluster(settings, _print, lambda line: _print(line, is_error=True))
    else:
        serve_until_stopped(settings, _print)


def _print(line: str, *, is_error: bool = False) -> None:
    """Write a line to whoever looks; a server does not end because nobody does."""
    try:
        click.echo(line, err=is_error)
    except OSError as problem:
        _log.warning("cannot write %r: %s", line, problem.strerror)
