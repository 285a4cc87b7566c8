"""Lengths of time as operators write and read them: `90s`, `15m`, `2h`, `3d`."""

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FORM = re.compile(r"(\d{1,6})([smhd])", re.ASCII)


def read_duration(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Read an option's length of time as seconds; a callback of click."""
    if text is None:
        return None
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is no length of time; write 90s, 15m, 2h or 3d", param=option)
    return float(int(match[1]) * _UNITS[match[2]])


def ago(seconds: float) -> str:
    """Write an age in its largest unit, rounded down."""
    whole = max(0, int(seconds))
    for unit in ("d", "h", "m"):
        if whole >= _UNITS[unit]:
            return f"{whole // _UNITS[unit]}{unit}"
    return f"{whole}s"
