"""An application with its four webhooks on a real receiver: answers as the test says, remembers what it was told."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.live import LiveServer
from tests.e2e.tenant import Json, Tenant
from tests.outbound.receiver import Received, Receiver, Reply, receiving

TOLD, GATE, OUTSIDE, DEBUGGER = "/told", "/gate", "/outside", "/debugger"
"""Paths of CallbackUrl, InterceptCallbackUrl, OutOfSessionCallbackUrl and the debugger webhook."""

BOUND_SECONDS = 15.0
"""Bound on every wait; it is not an expectation."""

IDEMPOTENCY = "i-twilio-idempotency-token"

CALLBACK_FIELDS = {
    *(
        f"{side}{name}"
        for side in ("inbound", "outbound")
        for name in ("ParticipantSid", "ResourceSid", "ResourceStatus", "ResourceType", "ResourceUrl")
    ),
    *(
        f"interaction{name}"
        for name in ("AccountSid", "Data", "DateCreated", "DateUpdated", "ServiceSid", "SessionSid", "Sid", "Type")
    ),
}
"""The 18 of behaviour 12.2."""

INTERCEPT_FIELDS = {name for name in CALLBACK_FIELDS if not name.startswith("outbound")}
"""The 13 of behaviour 12.3."""


class Application:
    """The webhooks of one customer."""

    def __init__(self, receiver: Receiver) -> None:
        """Answer 200 to everything, until told otherwise."""
        self.receiver = receiver
        self._replies: dict[str, deque[Reply]] = {}
        self._handlers: dict[str, Callable[[Received], Reply]] = {}
        receiver.behaviour = self._answer

    @property
    def hooks(self) -> dict[str, Any]:
        """The three URLs, as keywords that make a service."""
        return {
            "CallbackUrl": self.url(TOLD),
            "InterceptCallbackUrl": self.url(GATE),
            "OutOfSessionCallbackUrl": self.url(OUTSIDE),
        }

    def url(self, path: str) -> str:
        """Return where a webhook is."""
        return self.receiver.url + path

    def answers(self, path: str, *replies: Reply) -> None:
        """Answer the requests to a path one after the other; the last answer is for all that follow."""
        self._replies[path] = deque(replies)

    def handles(self, path: str, handler: Callable[[Received], Reply]) -> None:
        """Answer the requests to a path by looking at them."""
        self._handlers[path] = handler

    def asked(self, path: str) -> list[Received]:
        """Return the requests to a path, in the order in which they came."""
        return [request for request in self.receiver.received if request.path == path]

    def told(self, count: int) -> list[dict[str, str]]:
        """Wait until CallbackUrl has been told so often, and return the forms."""
        assert self.receiver.waits_for(lambda: len(self.asked(TOLD)) >= count), self.asked(TOLD)
        return [request.form for request in self.asked(TOLD)]

    def _answer(self, request: Received) -> Reply:
        handler = self._handlers.get(request.path)
        if handler is not None:
            return handler(request)
        replies = self._replies.get(request.path)
        if not replies:
            return Reply()
        return replies.popleft() if len(replies) > 1 else replies[0]


@contextmanager
def serving(*, port: int = 0) -> Iterator[Application]:
    """Run an application."""
    with receiving(port=port) as receiver:
        yield Application(receiver)


def eventually(is_so: Callable[[], bool], *, seconds: float = BOUND_SECONDS) -> bool:
    """Wait for something that nobody announces; tell whether it came to be in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def pending(server: LiveServer, **wanted: str) -> int:
    """Count what is owed and not dead; it is there from before the answer until it is settled."""
    query = "&".join(f"{name}={value}" for name, value in {**wanted, "is_dead": "false"}.items())
    count: int = server.admin("GET", f"/outbox/count?{query}")["count"]
    return count


def settled(tenant: Tenant, *, seconds: float = BOUND_SECONDS) -> bool:
    """Wait until nothing is owed on behalf of an account; what was not told by then never will be."""
    return eventually(lambda: pending(tenant.server, account_sid=tenant.sid) == 0, seconds=seconds)


def alerts(tenant: Tenant) -> list[Json]:
    """Read an account's debugger events, newest first."""
    return tenant.everything("/Alerts", "alerts")


def codes(tenant: Tenant, count: int) -> list[int]:
    """Wait for so many debugger events, and return their codes, oldest first."""
    assert eventually(lambda: len(alerts(tenant)) >= count), alerts(tenant)
    return [int(one["error_code"]) for one in reversed(alerts(tenant))]
