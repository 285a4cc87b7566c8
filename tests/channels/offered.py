"""What an engine offers a channel, as far as a test decides it."""

from collections import Counter
from collections.abc import Callable, Sequence

from engine.channels.base import ChannelContext
from engine.core.model.hosts import HostAddress, HostDirectory
from engine.core.model.records import Account
from engine.core.ports.notes import NoteDone, NoteLate
from engine.core.ports.observing import FeedProblem, SmppCount
from engine.core.routing.resolved import Resolved
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import Decision, InboundEvent, Question
from engine.outbound.client import Client
from tests.http.rig import ACCOUNT, NOW, PUBLIC_URL, TOKEN, FakeMeter, FakeMonotonic, FakeObserver, FakePlane
from tests.silent import SilentSipObserver


class ChannelPlane(FakePlane):
    """The data plane of the webhooks' tests, which answers the feed's questions too."""

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would be decided."""
        del event
        return self.decision

    def resolve_elsewhere(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Tell the same at once."""
        del event
        answer(self.decision)

    def resolve_all(
        self, questions: Sequence[Question], *, account_sid: str | None, fills_cache: bool = False
    ) -> Resolved | None:
        """Tell what would be decided about many."""
        return Resolved([self.decision for _ in questions], strangers=0, others=len(questions))

    def route_cache(self) -> RouteCache | None:
        """Have none."""
        return None

    def settle(self, done: Callable[[], None]) -> None:
        """Tell when all before it is answered."""
        self._answer(done)


class ChannelObserver(FakeObserver, SilentSipObserver):
    """Remembers what channels tell."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[FeedProblem] = []
        self.smpp_counts: Counter[SmppCount] = Counter()

    def feed_refused(self, problem: FeedProblem) -> None:
        """Remember a problem."""
        self.refused.append(problem)

    def smpp(self, count: SmppCount, times: int = 1) -> None:
        """Count it."""
        self.smpp_counts[count] += times


class MemoryNotes:
    """Notes that are committed at once."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    async def get(self, key: bytes) -> bytes | None:
        """Read."""
        return self.kept.get(key)

    async def latest(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Read those whose keys begin so, the last first."""
        found = sorted((one for one in self.kept.items() if one[0].startswith(prefix)), reverse=True)
        return found[:limit]

    def put(
        self,
        key: bytes,
        value: bytes,
        until: float,
        done: NoteDone,
        *,
        late: NoteLate | None = None,
        account_sid: str | None = None,
    ) -> None:
        """Keep for ever."""
        self.commit(key, lambda: self.kept.update({key: value}), done, late)

    def commit(self, key: bytes, change: Callable[[], None], done: NoteDone, late: NoteLate | None) -> None:
        """Make the change of a `put`, and say that it is committed."""
        change()
        done(None)

    def drop(self, key: bytes, done: NoteDone) -> None:
        """Keep no more."""
        self.kept.pop(key, None)
        done(None)


class Offered:
    """An engine's side of a channel."""

    def __init__(self, client: Client) -> None:
        self.plane = ChannelPlane()
        self.observer = ChannelObserver()
        self.meter = FakeMeter()
        self.notes: MemoryNotes = MemoryNotes()
        self.is_ready = True
        self._client = client

    def context(
        self, *, clock: Callable[[], float] = lambda: NOW, sure_clock: Callable[[], float] | None = None
    ) -> ChannelContext:
        """Return what a channel is served with."""
        directory = HostDirectory(1, 0, (HostAddress("host-0", ""),))
        return ChannelContext(
            traffic=self.plane,
            authenticate=authenticate,
            observer=self.observer,
            meter=self.meter,
            notes=self.notes,
            client=self._client,
            directory=lambda: directory,
            is_ready=lambda: self.is_ready,
            clock=clock,
            sure_clock=sure_clock or clock,
            monotonic=FakeMonotonic(),
            public_url=PUBLIC_URL,
        )


def authenticate(key: str, secret: str) -> Account | None:
    is_good = (key, secret) == (ACCOUNT, TOKEN)
    return Account(sid=ACCOUNT, auth_token=TOKEN, friendly_name="") if is_good else None
