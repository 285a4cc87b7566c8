"""How commands are found and how they fail: one clear line on standard error, never a traceback for the operator.

Exit codes: 0 done, 1 done in part or refused by a rule, 2 could not be tried (usage, settings, port, data directory).
"""

from importlib import import_module
from typing import IO, Any

import click

from engine.core.errors import MasklineError

UNTRIED = 2
"""Exit code when nothing could be tried."""

REFUSED = 1
"""Exit code when a rule said no, to all or to a part."""


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
