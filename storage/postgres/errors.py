"""Which failures of PostgreSQL are whose, and what to do about them, by SQLSTATE."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors

from engine.core.model.errors import ChangeRefused, MasklineError, RegistryOutrun, StoreUnavailable, StoreUnreadable
from storage.errors import Interrupted

FENCED: Final = "MK001"
"""Raised by our own function `fence`: the row of this host has another epoch, or another connection."""

_OUTRUN: Final = "MK002"
"""Raised by our own function `advance_registry`."""

_TRY_AGAIN: Final = ("40P01", "40001")
"""The database chose this transaction to end, since it and another stood in each other's way."""

_ROW_CLASSES: Final = ("22", "23")
"""Bad values and broken constraints: what was written is at fault."""

_FAULTS: Final = (errors.IntegrityError, errors.DataError, errors.ProgrammingError, errors.InternalError)
"""Faults in what was asked, where it is a question and there is no advice."""

_ADVICE: Final = {
    "53100": "the database's disk is full; free some space there",
    "53200": "the database has no memory left",
    "53300": "the database has no connection left; raise its max_connections",
    "53400": "the database has reached a limit of its configuration",
    "57P01": "the database is shutting down or ended our connection",
    "57P02": "the database crashed",
    "57P03": "the database is starting or shutting down",
    "25006": "the database is read-only, as a standby is; name all its servers in database_url",
    "55P03": "another transaction keeps our rows locked",
    "40P01": "another transaction was in the way",
    "40001": "another transaction was in the way",
    "28000": "the database does not let us in; check user and pg_hba.conf",
    "28P01": "the database refuses our password; check the passfile",
    "3D000": "there is no such database; make it, then run maskline database init",
    "42P01": "the database lacks our tables; run maskline database init",
    "42883": "the database lacks our functions; run maskline database init",
    "42501": "our user lacks a right in the database; see who owns its tables",
}
"""What to do, by SQLSTATE."""


_UNREACHED: Final = "the database cannot be reached"
_BAD_VALUE: Final = "database_url has a value that libpq does not take; see its port, sslmode and time-outs"
_UNTOLD: Final = (
    "the database asks for a password, and the passfile of database_url has none: it is not there, has no line for "
    "this server and user, or others may read it (its mode has to be 0600)"
)
_UNMADE: Final = {
    "Connection refused": f"{_UNREACHED}: nobody listens there; see whether it runs, and host and port in database_url",
    "No such file or directory": f"{_UNREACHED}: no socket is there; see whether it runs, and host in database_url",
    "could not translate host name": f"{_UNREACHED}: its host has no address; see host in database_url",
    "failed to resolve host": f"{_UNREACHED}: its host has no address; see host in database_url",
    "password authentication failed": _ADVICE["28P01"],
    "no password supplied": _UNTOLD,
    "no pg_hba.conf entry": _ADVICE["28000"],
    "the database system is": _ADVICE["57P03"],
    "too many clients": _ADVICE["53300"],
    "root certificate file": "there is no such file as sslrootcert in database_url names",
    '" does not exist': "there is no such database or user; make it, then run maskline database init",
    "timeout expired": f"{_UNREACHED}: it does not answer; see host and port in database_url, and the firewalls",
    "certificate": "its certificate is not trusted for that name; see sslmode and sslrootcert in database_url",
    "invalid port number": _BAD_VALUE,
    "invalid sslmode value": _BAD_VALUE,
    "invalid integer value": _BAD_VALUE,
    "received invalid response": f"{_UNREACHED}: no PostgreSQL listens there; see host and port in database_url",
    "does not support SSL": "the database offers no TLS, which sslmode in database_url asks for",
}
"""What to do, by words of libpq, and of servers that speak English, about a connection that is not made."""


class DatabaseUnreadable(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The database holds rows that no version of ours wrote."""


class NotConfirmed(psycopg.OperationalError):
    """A warning came with a commit: it may be on one server only."""


def sqlstate_of(failure: Exception) -> str:
    """Return the SQLSTATE of a failure that the server told of, otherwise nothing."""
    return (failure.sqlstate or "") if isinstance(failure, psycopg.Error) else ""


def is_refusal(failure: Exception) -> bool:
    """Tell a fault in what was asked from whatever keeps the database from doing it."""
    if not isinstance(failure, psycopg.Error):
        return not isinstance(failure, OSError | StoreUnavailable)
    state = sqlstate_of(failure)
    if state:
        return state.startswith((*_ROW_CLASSES, _OUTRUN))
    return not isinstance(failure, psycopg.OperationalError)  # psycopg could not even write it


def refusal(failure: Exception) -> ChangeRefused:
    """Return what is told of a changeset at fault, without its values, which may be phone numbers."""
    if sqlstate_of(failure) == _OUTRUN:
        return RegistryOutrun("The registry has changed since")
    refused = ChangeRefused.because(_told(failure))
    if isinstance(failure, psycopg.IntegrityError):
        refused.constraint = failure.diag.constraint_name or ""
    refused.__cause__ = failure
    return refused


def unavailable(failure: Exception) -> StoreUnavailable:
    """Return the message for callers whose changes the database did not take."""
    if isinstance(failure, StoreUnavailable):
        return failure
    state = sqlstate_of(failure)
    advice = advice_for(failure)
    kind = Interrupted if state in _TRY_AGAIN else StoreUnavailable
    return kind(f"Nothing was saved: {advice}. It is tried again by itself{f' ({state})' if state else ''}")


@contextmanager
def reading() -> Iterator[None]:
    """Raise StoreUnreadable for what the database refuses meanwhile."""
    try:
        yield
    except psycopg.Error as failure:
        if isinstance(failure, _FAULTS) and sqlstate_of(failure) not in _ADVICE:
            raise
        raise unreadable(failure) from failure


def unreadable(failure: Exception) -> StoreUnreadable:
    """Return the message for readers."""
    state = sqlstate_of(failure)
    return StoreUnreadable(f"Nothing was read: {advice_for(failure)}{f' ({state})' if state else ''}")


def advice_for(failure: Exception) -> str:
    """Say what keeps the database from being used, and what to do about it."""
    state = sqlstate_of(failure)
    if state:
        return _ADVICE.get(state, f"the database refused, with SQLSTATE {state}")
    if isinstance(failure, NotConfirmed):
        return "the database did not wait for its standby"
    told = str(failure)
    return next((advice for words, advice in _UNMADE.items() if words in told), _UNREACHED)


def _told(failure: Exception) -> str:
    if not isinstance(failure, psycopg.IntegrityError):
        return type(failure).__name__
    name = failure.diag.constraint_name or failure.diag.column_name or "unnamed"
    if isinstance(failure, errors.UniqueViolation):
        return f"UNIQUE constraint failed: {name}"
    return f"{type(failure).__name__}: {name}"
