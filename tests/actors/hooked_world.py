"""A world whose applications answer hooks as the test says, and which remembers what it owes."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from actors.kernel.context import Egress
from engine.core.model.outbox import OutboxCallback, OutboxEntry, OutboxHangUp, OutboxMessage, OutboxReceipt
from engine.core.model.records import Address, Interaction, ServiceOptions
from engine.core.model.requests import ServiceRequest
from engine.core.ports.hooks import InterceptVerdict, OutOfSessionCase, OutOfSessionVerdict
from tests.actors.stores import never
from tests.actors.world import World

CALLBACK, INTERCEPT, OUT_OF_SESSION = (
    "https://app.example.net/callback",
    "https://app.example.net/intercept",
    "https://app.example.net/out-of-session",
)


class FakeHooks:
    """Hooks that answer at once, or when they are let go on."""

    def __init__(self) -> None:
        self.intercepted: list[Interaction] = []
        self.cases: list[OutOfSessionCase] = []
        self.gate = InterceptVerdict()
        self.outside = OutOfSessionVerdict(twiml="<Response><Say>Hello</Say></Response>")
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.asked = asyncio.Event()
        self.timeouts: list[float] = []

    async def intercept(
        self, url: str, interaction: Interaction, *, may_rewrite: bool, timeout_seconds: float
    ) -> InterceptVerdict:
        """Answer as an InterceptCallbackUrl."""
        assert url == INTERCEPT
        assert may_rewrite in {True, False}
        self.intercepted.append(interaction)
        self.timeouts.append(timeout_seconds)
        self.asked.set()
        await self.go_on.wait()
        return self.gate

    async def out_of_session(self, url: str, case: OutOfSessionCase, *, timeout_seconds: float) -> OutOfSessionVerdict:
        """Answer as an OutOfSessionCallbackUrl."""
        assert url == OUT_OF_SESSION
        self.cases.append(case)
        self.timeouts.append(timeout_seconds)
        self.asked.set()
        await self.go_on.wait()
        return self.outside


class FakeOutbox:
    """Remembers what was handed over for delivery."""

    def __init__(self) -> None:
        self.entries: list[OutboxEntry] = []

    def add(self, entries: Sequence[OutboxEntry]) -> None:
        """Remember it."""
        self.entries += entries

    def callbacks(self) -> list[Interaction]:
        """Return the interactions that callbacks tell of."""
        return [one.content.interaction for one in self.entries if isinstance(one.content, OutboxCallback)]

    def messages(self) -> list[OutboxMessage]:
        """Return the messages that carriers are to send."""
        return [one.content for one in self.entries if isinstance(one.content, OutboxMessage)]

    def receipts(self) -> list[OutboxReceipt]:
        """Return what peers are to be told of their messages."""
        return [one.content for one in self.entries if isinstance(one.content, OutboxReceipt)]

    def hang_ups(self) -> list[OutboxHangUp]:
        """Return the calls that carriers are to end."""
        return [one.content for one in self.entries if isinstance(one.content, OutboxHangUp)]


class FakeCarriers:
    """One carrier for everything, or none."""

    name: str | None = None

    def sender_for(self, proxy: Address) -> str | None:
        """Return it."""
        assert proxy
        return self.name

    def caller_for(self, proxy: Address) -> str | None:
        """Return it."""
        assert proxy
        return self.name


class HookedWorld(World):
    """A world with an application behind it."""

    def __init__(
        self, data_dir: Path, *, count: int = 1, turns: Callable[[], int] = never, database: str | None = None
    ) -> None:
        super().__init__(data_dir, count=count, turns=turns, database=database)
        self.hooks = FakeHooks()
        self.outbox = FakeOutbox()
        self.carriers = FakeCarriers()
        self.egress = Egress(hooks=self.hooks, outbox=self.outbox, carriers=self.carriers)

    async def configure(
        self,
        *,
        callback: str | None = None,
        intercept: str | None = None,
        out_of_session: str | None = None,
        options: ServiceOptions | None = None,
    ) -> None:
        """Give the service its URLs and options."""
        request = ServiceRequest(
            callback_url=callback,
            intercept_callback_url=intercept,
            out_of_session_callback_url=out_of_session,
            options=options or ServiceOptions(),
        )
        await self.control.update_service(self.account.sid, self.service_sid, request)

    def recorded(self) -> list[Interaction]:
        """Return all interactions on disk, oldest first."""
        return self.store.interactions_since(0.0)

    async def waits(self) -> None:
        """Wait until a hook has been asked."""
        await asyncio.wait_for(self.hooks.asked.wait(), 20)
        self.hooks.asked.clear()


def blocked() -> InterceptVerdict:
    """Return the verdict of a 403."""
    return InterceptVerdict(is_blocked=True)


def replaced(verdict: InterceptVerdict, body: str) -> InterceptVerdict:
    """Return a verdict with another text."""
    return msgspec.structs.replace(verdict, body=body)
