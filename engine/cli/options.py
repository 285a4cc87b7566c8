"""Options that many commands share, and the settings they lead to."""

import functools
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.channels.sockets import ListenAddress
from engine.settings import SETTINGS, LoadedSettings, Settings, flag, load_settings

Command = TypeVar("Command", bound=Callable[..., Any])

_config = click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
_data_dir = click.option("--data-dir", metavar="DIR", help="Directory of the database and the admin socket.")
_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


_ALSO = {"ray_address": ("--address",)}
"""Shorter names of flags."""


def admin_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--config`, `--data-dir` and `--json`; the command gets `settings` and `as_json`."""

    @functools.wraps(command)
    def with_settings(*, config: Path | None, data_dir: str | None, **arguments: object) -> None:
        command(settings=settings_from(config=config, data_dir=data_dir).settings, **arguments)

    return _json(_config(_data_dir(with_settings)))


def setting_options(command: Command) -> Command:
    """Add an option for every setting that is no table, as the settings record describes it."""
    plain = Settings()
    for key, setting in reversed([(key, one) for key, one in SETTINGS.items() if one.tables is None]):
        default = getattr(plain, key)
        name = flag(key)
        if isinstance(default, bool):
            option = click.option(f"{name}/--no-{name[2:]}", key, default=None, help=setting.meaning)
        else:
            also = _ALSO.get(key, ())
            option = click.option(name, *also, key, metavar=_metavar(default), help=setting.meaning)
        command = option(command)
    return _config(command)


def settings_from(*, config: Path | None, **flags: object) -> LoadedSettings:
    """Load the settings of this process."""
    return load_settings(config=config, environ=os.environ, flags=flags)


def _metavar(default: object) -> str:
    match default:
        case StrEnum():
            return "|".join(type(default))
        case int() | float():
            return "N"
        case ListenAddress():
            return "HOST:PORT"
        case tuple():
            return "NETWORK,…"
        case Path():
            return "DIR"
        case _:
            return "TEXT"
