"""Which failures of PostgreSQL are whose."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from engine.core.model.errors import StoreUnavailable
from storage.errors import ChangeRefused

_OURS = (errors.IntegrityError, errors.DataError, errors.ProgrammingError, errors.InternalError)
"""Faults in what was asked, each the changeset's own. The values are never named, they may be phone numbers."""


def is_unavailable(failure: Exception) -> bool:
    """Tell a refusal of the database, which may pass, from a fault in what was asked."""
    return isinstance(failure, psycopg.Error) and not isinstance(failure, _OURS)


def unavailable(failure: Exception) -> StoreUnavailable:
    """Return the message for callers about a commit that the database refused."""
    return StoreUnavailable(f"Nothing was saved: {_what(failure)}. It is tried again by itself")


def unreadable(failure: Exception) -> StoreUnavailable:
    """Return the message for readers."""
    return StoreUnavailable(f"Nothing was read: {_what(failure)}")


def refusal(failure: Exception) -> ChangeRefused:
    """Name the constraint or the kind of error."""
    what = type(failure).__name__
    if isinstance(failure, errors.UniqueViolation):
        what = f"UNIQUE constraint {failure.diag.constraint_name}"
    elif isinstance(failure, psycopg.Error):
        what = f"{what} ({failure.sqlstate})"
    return ChangeRefused.because(what)


@contextmanager
def reading() -> Iterator[None]:
    """Raise StoreUnavailable for what the database refuses meanwhile."""
    try:
        yield
    except psycopg.Error as failure:
        if is_unavailable(failure):
            raise unreadable(failure) from failure
        raise


def _what(failure: Exception) -> str:
    code = getattr(failure, "sqlstate", None)
    return "the database does not answer" if code is None else f"the database refuses ({code})"
