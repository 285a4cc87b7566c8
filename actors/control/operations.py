"""Tells the observer how operations on sessions end, by a line above each method."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from actors.kernel.context import HostContext
from engine.core.model.errors import Code, answer_to
from engine.core.model.records import SessionStatus
from engine.core.model.requests import SessionUpdate
from engine.core.ports.observing import OperationEnd, SessionOperation

_ENDS = {
    Code.STORAGE_FAILED: OperationEnd.UNAVAILABLE,
    Code.UNAVAILABLE: OperationEnd.UNAVAILABLE,
    Code.INTERNAL_ERROR: OperationEnd.FAILED,
}
"""What is neither done nor the caller's fault."""


class Operated(Protocol):
    """What has operations: its `_context` know the observer."""

    _context: HostContext


Owner = TypeVar("Owner", bound=Operated)
Asked = ParamSpec("Asked")
Result = TypeVar("Result")


class Counted:
    """Has every call of a method told as one operation, or as the one that its arguments ask for."""

    def __init__(self, which: SessionOperation | Callable[..., SessionOperation]) -> None:
        """Decorate with the operation, or with a function that takes the method's arguments."""
        self._which = which

    def __call__(
        self, method: Callable[Concatenate[Owner, Asked], Awaitable[Result]]
    ) -> Callable[Concatenate[Owner, Asked], Coroutine[Any, Any, Result]]:
        """Wrap a method."""
        which = self._which

        @wraps(method)
        async def counted(owner: Owner, /, *args: Asked.args, **kwargs: Asked.kwargs) -> Result:
            operation = which if isinstance(which, SessionOperation) else which(*args, **kwargs)
            observer = owner._context.observer  # noqa: SLF001 - it stands for a method of that object
            try:
                result = await method(owner, *args, **kwargs)
            except Exception as problem:
                code = answer_to(problem).code
                end = _ENDS.get(code, OperationEnd.REFUSED)
                observer.operated(operation, end, code if end is OperationEnd.REFUSED else None)
                raise
            observer.operated(operation, OperationEnd.DONE)
            return result

        return counted


def update_asked(session_sid: str, update: SessionUpdate, *, key: object = None) -> SessionOperation:
    """Tell a close and a re-opening from other updates, by the status that they ask for."""
    del session_sid, key
    match update.status:
        case SessionStatus.CLOSED:
            return SessionOperation.CLOSE
        case SessionStatus.IN_PROGRESS:
            return SessionOperation.REOPEN
        case _:
            return SessionOperation.UPDATE
