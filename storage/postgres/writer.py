"""Transactions on PostgreSQL: what `storage.writer` commits groups with, each in one round trip, fenced.

A group is BEGIN; fence; its statements; COMMIT. The fence finds the row of this host under this process's epoch and
this connection only, so that nothing commits for a host that another process is, nor what a lost connection brings yet.
An answer that does not come, or comes with a warning, tells nothing: then a new connection asks the row which group was
the last. A commit that waits for its standby is never cancelled, since it would come back as if it were done.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from math import inf
from typing import Final

import psycopg

from engine.core.model.changes import Change
from engine.core.model.errors import Fenced, StoreUnavailable
from storage.errors import Interrupted, OutcomeUnknown
from storage.postgres.checks import lacks
from storage.postgres.connections import WriterConnection
from storage.postgres.errors import FENCED, NotConfirmed, advice_for, is_refusal, refusal, sqlstate_of, unavailable

RECONNECT_SECONDS = 1.0
"""How long a server that could not be reached is left alone."""

LEASE_LOOKS: Final = 4
"""How often within its lease an idle host renews it, at least."""

CHECK_SECONDS = 1.0
"""How often the database is looked at, whether it is replicated as it should be."""

_FENCE: Final = "SELECT fence(%s, %s, %s, %s)"
_ATTACH: Final = """
    UPDATE hosts SET attached = %(attached)s, backend = pg_backend_pid(),
        state = CASE WHEN %(is_begun)s THEN 1 ELSE state END
    WHERE place = %(place)s AND epoch = %(epoch)s AND attached < %(attached)s RETURNING group_no
"""
_BEGIN: Final = "UPDATE hosts SET state = 1 WHERE place = %s AND epoch = %s AND attached = %s"
_DETACH: Final = """
    UPDATE hosts SET backend = NULL, state = CASE WHEN %s THEN 0 ELSE state END
    WHERE place = %s AND epoch = %s AND attached = %s
"""

Apply = Callable[[psycopg.Connection, Iterable[Sequence[Change]]], None]
"""Sends the statements that write these changesets, one after another, over a connection in pipeline mode."""

_log = logging.getLogger("maskline.storage")


class PostgresTransaction:
    """`storage.writer.Transaction` on one connection at a time; connects by itself."""

    def __init__(
        self,
        connect: Callable[[], WriterConnection],
        apply: Apply,
        *,
        place: int,
        epoch: int,
        fenced: Callable[[Fenced], None],
        replicas: int = 0,
        lease_seconds: float = inf,
        not_before: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write for a place under an epoch; `fenced` is called on the writer's thread, and may end the process.

        So many synchronous standbys are to follow; 0 = the database is not looked at for them. The place is surely this
        process's until `lease_seconds` after the last renewal began, by `steady`, which runs while the machine sleeps.
        Before `not_before` another process may still answer for it, and the row goes on to say so.
        """
        self._connect = connect
        self._apply = apply
        self._place, self._epoch = place, epoch
        self._fenced = fenced
        self._monotonic = monotonic
        self._steady = steady
        self._lease_seconds = lease_seconds
        self.not_before = not_before
        self._is_begun = not_before <= steady()
        self._began = steady()
        self.lease_until = -inf
        """Until when no other process can have this place, by the steady clock; read by other threads."""
        self._leases_lost = 0
        self._connection: WriterConnection | None = None
        self._pipeline: psycopg.Pipeline | None = None
        self._leaving = ExitStack()
        self._group = self._attached_as = self._undone = 0
        self._is_commit_sent = False
        self._warning = ""
        self._problem: StoreUnavailable | None = None
        self._next_try = self._next_check = 0.0
        self._replicas = replicas
        self.lacks = "it has not been looked at" if replicas else ""
        """What the database lacks to be replicated as it should be; nothing: empty."""
        self._is_stopping = threading.Event()
        self.unknown_outcomes = 0
        """Commits whose outcome had to be asked for, for a gauge."""
        self.unknown_since: float | None = None
        """Since when an outcome has been unknown, by the monotonic clock."""

    @property
    def leases_lost(self) -> int:
        """Count how often the lease ran out before it was renewed, now included."""
        return self._leases_lost + (self.lease_until <= self._steady())

    def attach(self) -> None:
        """Connect and take the row of the place; raises psycopg.Error, Fenced."""
        self._attach()
        self.rest()

    def begin(self) -> None:
        """Begin a transaction, which the fence opens; nothing is waited for yet."""
        connection = self._attached()
        self._group += 1
        self._is_commit_sent = False
        self._warning = ""
        self._began = self._steady()
        self._pipeline = self._leaving.enter_context(connection.pipeline())
        connection.execute("BEGIN", prepare=False)
        connection.execute(_FENCE, (self._place, self._epoch, self._attached_as, self._group))

    def apply(self, group: Sequence[Sequence[Change]]) -> None:
        """Send the changes of a group in order."""
        self._apply(self._attached(), group)

    def apply_alone(self, changes: Sequence[Change]) -> None:
        """Write one changeset and wait for it; what fails of it is undone, and nothing else."""
        connection = self._attached()
        connection.execute("SAVEPOINT alone", prepare=False)
        try:
            self._apply(connection, [changes])
            self._sync()
        except Exception as failure:
            if not is_refusal(failure):
                raise
            with suppress(psycopg.Error):  # what was sent behind the failure was not done
                self._sync()
            connection.execute(self._undoing("ROLLBACK TO alone"), prepare=False)
            connection.execute("RELEASE alone", prepare=False)
            self._sync()
            raise refusal(failure) from failure
        connection.execute("RELEASE alone", prepare=False)

    def commit(self) -> float:
        """Send COMMIT, and wait for the answers to the whole group."""
        connection = self._attached()
        began = self._monotonic()
        self._is_commit_sent = True
        committed = connection.execute("COMMIT", prepare=False)
        self._leave_pipeline()
        if self._warning:
            raise NotConfirmed(self._warning)
        if committed.statusmessage != "COMMIT":
            raise psycopg.InternalError(f"COMMIT was answered {committed.statusmessage}")
        self._renew()
        return self._monotonic() - began

    def outcome(self, failure: Exception) -> StoreUnavailable | None:
        """Say what became of the transaction; if the answer does not tell, ask for it until it is known."""
        with suppress(psycopg.Error):
            self._leave_pipeline()
        if isinstance(failure, Fenced):
            raise failure
        if sqlstate_of(failure) == FENCED:
            self._drop()
            raise self._end() from failure
        is_told = _is_error_of_statement(failure) or not self._is_commit_sent
        if not is_told:
            return self._asked(failure)
        self._roll_back()
        if is_refusal(failure):
            return refusal(failure)
        if self._connection is not None or isinstance(failure, StoreUnavailable):
            return unavailable(failure)
        try:
            self._attach()
        except psycopg.Error as problem:
            return self._left_alone(problem)
        return Interrupted(str(unavailable(failure)))

    def look(self, *, is_failed: bool) -> StoreUnavailable | None:  # noqa: ARG002 - both are a group without changes
        """Renew the row of this host, which shows whether all is well, or well again."""
        try:
            self.begin()
            self.commit()
        except Exception as failure:  # noqa: BLE001 - told to the writer's loop, as of any group
            problem = self.outcome(failure)
            return None if isinstance(problem, Interrupted) else problem
        self.rest()
        return None

    def rest(self) -> None:
        """Note once nobody else answers any more; look each second whether the database is replicated."""
        connection, now = self._connection, self._monotonic()
        if connection is not None and not self._is_begun and self.not_before <= self._steady():
            self._begin_tenure(connection)
        if not self._replicas or connection is None or now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        try:
            lacking = lacks(connection, replicas=self._replicas)
        except psycopg.Error as failure:  # the next group meets it too
            _log.debug("the database could not be looked at", exc_info=failure)
            return
        if lacking != self.lacks:
            self.lacks = lacking
            if lacking:
                _log.error("The database is not replicated as database_replicas asks: %s", lacking)
            else:
                _log.warning("The database is replicated")

    def _begin_tenure(self, connection: WriterConnection) -> None:
        try:
            connection.execute(_BEGIN, self._row)
        except psycopg.Error as failure:  # the next group meets it too
            _log.debug("that the place is held could not be noted", exc_info=failure)
        else:
            self._is_begun = True

    @property
    def _row(self) -> tuple[int, int, int]:
        return self._place, self._epoch, self._attached_as

    def stop(self) -> None:
        """Give up asking for an outcome, if that is under way."""
        self._is_stopping.set()

    def close(self) -> None:
        """Leave the place to whoever comes, and disconnect; blocks."""
        if self._connection is not None and not self._connection.closed:
            with suppress(psycopg.Error):  # it is found silent instead
                self._connection.execute(_DETACH, (self._is_begun, *self._row))
        self._drop()

    def _attached(self) -> WriterConnection:
        """Return the connection, a new one if it was lost; raises StoreUnavailable at once while none can be had."""
        if self._connection is None:
            if self._problem is not None and self._monotonic() < self._next_try:
                raise self._problem
            try:
                self._attach()
            except psycopg.Error as failure:
                raise self._left_alone(failure) from failure
        assert self._connection is not None  # noqa: S101 - or it was raised
        return self._connection

    def _left_alone(self, failure: Exception) -> StoreUnavailable:
        self._problem = unavailable(failure)
        self._next_try = self._monotonic() + RECONNECT_SECONDS
        return self._problem

    def _attach(self) -> int:
        """Connect, take the row of this host, and return the last group that was committed.

        Taking the row is a commit, so what it returns is as durable: an old primary that is cut off never answers.
        """
        self._drop()
        connection = self._connect()
        with ExitStack() as undo:
            undo.callback(connection.close)
            self._warning = ""
            connection.add_notice_handler(self._note_warning)
            self._attached_as += 1  # what an attempt before this one still brings finds no row
            self._began = self._steady()
            row = connection.execute(
                _ATTACH,
                {
                    "attached": self._attached_as,
                    "place": self._place,
                    "epoch": self._epoch,
                    "is_begun": self._is_begun,
                },
            ).fetchone()
            if self._warning:
                raise NotConfirmed(self._warning)
            if row is None:
                raise self._end()
            undo.pop_all()
        self._connection, self._problem, self._is_commit_sent = connection, None, False
        self._renew()
        group: int = row[0]
        self._group = max(self._group, group)
        return group

    def _renew(self) -> None:
        """Take that the row of this host was renewed by what has just been committed.

        Whoever takes the place does so later than that began, and answers nothing for as long as the lease.
        """
        lapsed = self._steady() - self.lease_until
        self.lease_until = self._began + self._lease_seconds
        if 0.0 <= lapsed < inf:
            self._leases_lost += 1
            _log.warning("The lease on place %d had run out for %.1f seconds, and is renewed", self._place, lapsed)

    def _asked(self, failure: Exception) -> StoreUnavailable | None:
        """Find out by a new connection whether the group was committed; returns when that is known."""
        group = self._group
        self.unknown_outcomes += 1
        self.unknown_since = self._monotonic()
        _log.warning("Whether a group was committed is unknown (time %d): %s", self.unknown_outcomes, _cause(failure))
        last: int | None = None
        said = ""
        while last is None:
            try:
                last = self._attach()
            except psycopg.Error as problem:
                why = advice_for(problem)
                if why != said:
                    _log.warning("It cannot be found out yet: %s", why)
                    said = why
                if self._is_stopping.wait(RECONNECT_SECONDS):
                    raise OutcomeUnknown(
                        "The engine stops before the database has told whether the last group was committed"
                    ) from problem
        self.unknown_since = None
        _log.warning("That group was %scommitted", "" if last >= group else "not ")
        return None if last >= group else Interrupted(str(unavailable(failure)))

    def _end(self) -> Fenced:
        fenced = Fenced(f"Another process has taken place {self._place} in the database; this one ends")
        self._fenced(fenced)
        return fenced

    def _note_warning(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warning = f"{diagnostic.sqlstate} {diagnostic.message_primary}"

    def _leave_pipeline(self) -> None:
        """Wait for all that was sent; raises the first failure of it."""
        self._pipeline = None
        self._leaving.close()

    def _sync(self) -> None:
        """Wait for what was sent so far; raises the first failure of it."""
        assert self._pipeline is not None  # noqa: S101 - a transaction is under way
        self._pipeline.sync()

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if not connection.broken:
                connection.execute(self._undoing("ROLLBACK"), prepare=False)
        except psycopg.Error:
            self._drop()
        else:
            if connection.broken:
                self._drop()

    def _undoing(self, text: str) -> str:
        """Return a statement that undoes others as none before it was spelled.

        Statements to be prepared that came behind the one that failed were not, which psycopg notices when it meets
        the answer to a rollback that it has not counted yet (seen with 3.3).
        """
        self._undone += 1
        return f"{text} -- {self._undone}"

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def _is_error_of_statement(failure: Exception) -> bool:
    """Tell what ended a transaction from what ended a connection, or leaves open what it ended."""
    if not isinstance(failure, psycopg.Error):
        return True
    return failure.diag.severity_nonlocalized == "ERROR"


def _cause(failure: Exception) -> str:
    return (
        str(failure)
        if isinstance(failure, NotConfirmed)
        else f"{type(failure).__name__} {sqlstate_of(failure)}".strip()
    )
