"""How far long work is, for whoever looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from engine.cli.output import console

OnProgress = Callable[[str, int, int], None]
"""Gets what is done, how much of it, and how much there is."""


@contextmanager
def progress() -> Iterator[OnProgress]:
    """Show on standard error, if somebody looks, how far each table is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console(is_error=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as shown_progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown_progress.add_task(what)
            shown_progress.update(tasks[what], completed=done, total=total)

        yield on_progress
