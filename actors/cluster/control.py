"""The control plane of a cluster, the same on every host: finds the host that a request concerns and has it answer.

A service and all its sessions are one host's; what concerns the registry is decided on any: those methods are derived
from the port. Where all hosts see the same tables, any host answers lists too. Where each has files of its own, lists
that lie on several hosts are gathered and stay in order, and a host that does not answer makes the request fail with
PeerUnavailable.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from actors.cluster.derived import AsksOwners, fills_in
from actors.cluster.rpc import HostRpc
from actors.control.coordinator import not_in_this_service
from actors.control.host_control import HostControl
from actors.control.routes import Place
from actors.kernel.gathering import answer_soon
from actors.kernel.paging import kinds_joined, merged
from engine.core.model.errors import ApiError, Code, PeerUnavailable
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import DebuggerEvent, Interaction, Participant, Session
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.e164 import canonical
from engine.core.ports.lists import AlertFilter, AlertKinds, OutboxFilter, Page, PageCursor
from engine.core.ports.operations import ControlPlane, Explanation
from engine.core.sessions.batch import BatchItem, ItemResult, item_refused
from engine.core.sessions.search import FoundInteractions, InteractionSought, joined

P = ParamSpec("P")
R = TypeVar("R")

Method = Callable[Concatenate[HostControl, P], Coroutine[Any, Any, R]]


BATCH_CHUNK = 500
"""Items of a batch in one message: a few milliseconds to read, and as long to answer."""


_NOT_KNOWN = item_refused(
    ApiError(
        Code.UNAVAILABLE,
        "A host did not answer, and may have carried the item out; send it again, with the same IdempotencyKey",
    )
)


@fills_in(ControlPlane, HostControl)
class ClusterControl(AsksOwners[HostControl], ControlPlane):
    """Implements the port `ControlPlane` over the hosts of a cluster; what is not written here is derived."""

    async def batch_sessions(
        self, account_sid: str, service_sid: str, items: Sequence[BatchItem]
    ) -> tuple[ItemResult, ...]:
        """Carry out many changes of sessions, so many in a message; what a silent host has done is not known."""
        if self._place(service_sid) == self._rpc.me:
            return await self._own.batch_sessions(account_sid, service_sid, items)
        results: list[ItemResult] = []
        for start in range(0, max(len(items), 1), BATCH_CHUNK):
            some = tuple(items[start : start + BATCH_CHUNK])
            try:
                results += await self._at(service_sid, HostControl.batch_sessions, account_sid, service_sid, some)
            except PeerUnavailable:
                results += [_NOT_KNOWN] * (len(items) - start)
                break
        return tuple(results)

    async def explain(self, *, proxy: str, sender: str) -> Explanation:
        """Tell, as the operator, what would happen to a sender on a proxy number, and why."""
        return await self._at(canonical(proxy), HostControl.explain, proxy=proxy, sender=sender)

    async def find_session(self, session_sid: str) -> tuple[Session, tuple[Participant, ...]]:
        """Read any account's session with all its participants, as the operator.

        Its coordinator's host knows of what passed just now; while that does not answer, the record tells.
        """
        found = await self._own.find_session(session_sid)
        try:
            return await answer_soon(self._at(found[0].service_sid, HostControl.find_session, session_sid))
        except PeerUnavailable:
            return found

    async def replay(self, entries: Sequence[OutboxEntry]) -> int:
        """Have dead entries tried again, from the first attempt, each by its host; returns how many were dead."""
        return sum(await self._everywhere(HostControl.replay, tuple(entries)))

    async def drop(self, entries: Sequence[OutboxEntry]) -> int:
        """Drop dead entries, each by its host; returns how many were dead."""
        return sum(await self._everywhere(HostControl.drop, tuple(entries)))

    async def _ask_owner(self, method: Callable[..., Coroutine[Any, Any, R]], asked: dict[str, Any]) -> R:
        """Ask the host of a service; UNAUTHORIZED_OPERATION for a session of a sister service."""
        try:
            return await super()._ask_owner(method, asked)
        except ApiError as refusal:
            session_sid = asked.get("session_sid", "")
            if refusal.code is Code.NOT_FOUND and is_sid(session_sid, SidKind.SESSION):
                await self._check_sister(asked["account_sid"], asked["service_sid"], session_sid)
            raise

    async def _check_sister(self, account_sid: str, service_sid: str, session_sid: str) -> None:
        try:
            session, _ = await self.find_session(session_sid)
        except ApiError:
            return
        if session.account_sid == account_sid and session.service_sid != service_sid:
            self._own.service(account_sid, service_sid)
            raise not_in_this_service(session_sid, service_sid)

    async def _everywhere(self, method: Method[P, R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
        others = (self._rpc.ask(host, method, *args, **kwargs) for host in self._rpc.others)
        return list(await asyncio.gather(method(self._own, *args, **kwargs), *others))


class FilesControl(ClusterControl):
    """The same over hosts each of which has files of its own: finds what lies in some host's, and gathers lists."""

    async def find_session(self, session_sid: str) -> tuple[Session, tuple[Participant, ...]]:
        """Read any account's session with all its participants, as the operator."""
        return await self._found(HostControl.find_session, session_sid)

    async def find_interaction(self, interaction_sid: str) -> Interaction:
        """Read any account's interaction, as the operator."""
        return await self._found(HostControl.find_interaction, interaction_sid)

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        """Search the interactions of an account, or of all, newest first, on the hosts that answer."""
        found, silent = await self._rpc.ask_available(
            self._own, HostControl.find_interactions, account_sid, sought, most=most
        )
        return joined(found, most=most, silent=silent)

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        """List the debugger events of an account (None = of all), newest first."""
        pages = await self._pages(cursor, HostControl.alerts_page, account_sid, wanted, cursor)
        return merged(pages, cursor, is_newest_first=True)

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        """Count the latest debugger events of an account, or of all, by kind, on the hosts that answer."""
        found, silent = await self._rpc.ask_available(
            self._own, HostControl.alert_kinds, account_sid, wanted, most=most
        )
        return kinds_joined(found, silent)

    async def alert(self, account_sid: str | None, event_sid: str) -> DebuggerEvent:
        """Read a debugger event of an account (None = of any)."""
        return await self._found(HostControl.alert, account_sid, event_sid)

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        """List, as the operator, the outbox, oldest first."""
        pages = await self._pages(cursor, HostControl.outbox_page, wanted, cursor)
        return merged(pages, cursor, is_newest_first=False)

    async def _pages(
        self, cursor: PageCursor, method: Method[P, Page[R]], *args: P.args, **kwargs: P.kwargs
    ) -> list[Page[R]]:
        """Read a page on every host; one that is silent has an empty one where a part is enough."""
        if not cursor.is_part_enough:
            return await self._everywhere(method, *args, **kwargs)
        pages, silent = await self._rpc.ask_available(self._own, method, *args, **kwargs)
        return [*pages, Page((), has_next=False, has_previous=False, silent=silent)]

    async def _found(self, method: Method[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what one of the hosts has.

        ApiError NOT_FOUND when none does, PeerUnavailable when one that may does not answer.
        """
        refusal: ApiError | PeerUnavailable
        try:
            return await method(self._own, *args, **kwargs)
        except ApiError as problem:
            refusal = problem
        for host in self._rpc.others:
            try:
                return await self._rpc.ask(host, method, *args, **kwargs)
            except ApiError as problem:
                if problem.code is not Code.NOT_FOUND:
                    raise
            except PeerUnavailable as problem:
                refusal = problem
        raise refusal


def cluster_control(own: HostControl, rpc: HostRpc, place: Place, *, is_shared: bool) -> ControlPlane:
    """Return the control plane of a cluster, which answers from `own` what is this host's; see `Store.is_shared`."""
    kind = ClusterControl if is_shared else FilesControl
    return kind(own, rpc, place)  # type: ignore[abstract] # the methods that are not written are filled in
