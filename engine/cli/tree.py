"""How commands are found and how they fail: one clear line on standard error, never a traceback for the operator.

Exit codes: 0 done, 1 done in part or refused by a rule, 2 could not be tried (usage, settings, port, data directory).
"""

import errno
import os
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import click

from engine.core.model.errors import MasklineError

UNTRIED = 2
"""Exit code when nothing could be tried."""

REFUSED = 1
"""Exit code when a rule said no, to all or to a part."""


_OUTPUT_IS_GONE = frozenset({errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG})
"""A broken pipe is click's matter: whoever reads has seen enough."""


class Refusal(click.ClickException):
    """Ends the command with one line that says what is wrong and what to do about it: nothing could be tried."""

    exit_code = UNTRIED

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line."""
        click.echo(f"maskline: {self.message}", err=True, file=file)


class Refused(Refusal):
    """The same, when the engine was asked and a rule said no."""

    exit_code = REFUSED


class CommandTree(click.Group):
    """A group whose commands are named by module and imported when one is looked up."""

    def __init__(self, *, name: str, help: str, commands: dict[str, str]) -> None:  # noqa: A002 - click's own word
        """Map each command's name to `module:attribute`."""
        super().__init__(name=name, help=help, context_settings={"help_option_names": ["-h", "--help"]})
        self._places = commands
        click.version_option(package_name="maskline", prog_name="maskline", message="%(prog)s %(version)s")(self)

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command line, whatever the outputs are: closed, full, of an encoding that lacks our characters."""
        _take_any_output()
        try:
            return super().main(*args, **extra)
        except OSError as problem:
            if problem.errno not in _OUTPUT_IS_GONE:
                raise
            sys.stdout = _nowhere()  # what is left in its buffer would be tried again at the end
            click.echo(f"maskline: cannot write the answer: {problem.strerror}", err=True)
            sys.exit(UNTRIED)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's form
        """Name the commands in the order of help."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's form
        """Import a command."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what the engine raises on purpose becomes one line."""
        try:
            return super().invoke(ctx)
        except MasklineError as problem:
            raise Refusal(str(problem)) from problem


def _take_any_output() -> None:
    """Write what an output's encoding lacks in its escaped form, and what goes to a closed one nowhere."""
    sys.stdout, sys.stderr = (_nowhere() if one is None else one for one in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w", encoding="utf-8")
