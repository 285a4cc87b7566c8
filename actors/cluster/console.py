"""What the operator's console is told: of one host by `ConsoleSide`, of a cluster by `ConsoleFront`.

Both implement the port `ConsolePlane`. A visit's token and a link's code begin with the place of the host that keeps
them, so that any host of a cluster knows whom to ask.
"""

import asyncio
import secrets
from collections.abc import Callable

from actors.cluster.mesh import Mesh
from actors.control.services import ServiceRegister
from actors.kernel.parts import Parts
from actors.kernel.patience import heard, soon
from engine.core.model.overview import HostStatus, PoolReport, PoolReports, most_saturated
from engine.core.model.placement import host_name
from engine.core.model.visits import Visit, Visits
from engine.core.sessions.search import FoundSessions, SessionSought

_SECRET_BYTES = 32


class ConsoleSide:
    """What this host tells the console, and the visits that it keeps."""

    def __init__(
        self, parts: Parts, services: ServiceRegister, *, place: int, status: Callable[[str], HostStatus]
    ) -> None:
        """Tell of the host at a place; `status` returns how it fares under a name."""
        self._parts = parts
        self._services = services
        self._place = place
        self._status = status
        self._visits = Visits()

    async def hosts(self) -> tuple[HostStatus, ...]:
        """Tell how this host fares."""
        return (self._status(host_name(self._place)),)

    async def pools(self, account_sid: str | None, *, most: int) -> PoolReports:
        """Tell how full the pools are that are coordinated here."""
        reports = [
            PoolReport(
                service_sid=one.service.sid,
                account_sid=one.service.account_sid,
                unique_name=one.service.unique_name,
                active_sessions=one.active_sessions,
                state=one.pool_state,
            )
            for one in self._services
            if account_sid in {None, one.service.account_sid}
        ]
        return PoolReports(most_saturated(reports, most=most), len(reports))

    async def find_sessions(self, account_sid: str | None, sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions that are coordinated here."""
        mine = [one.service.sid for one in self._services if account_sid in {None, one.service.account_sid}]
        return await self._parts.store.find_sessions(mine, sought, most=most)

    async def begin_visit(self, account_sid: str | None, credential: str, proof: bytes = b"") -> Visit:
        """Let somebody in."""
        visit = Visit(
            token=self._secret(),
            csrf=secrets.token_urlsafe(_SECRET_BYTES),
            account_sid=account_sid,
            credential=credential,
            begun_at=self._parts.clock(),
            proof=proof,
        )
        self._visits.begin(visit)
        return visit

    async def find_visit(self, token: str, *, is_active: bool) -> Visit | None:
        """Return the visit of a token that is kept here."""
        return self._visits.find(token, now=self._parts.clock(), is_active=is_active)

    async def end_visit(self, token: str) -> None:
        """End a visit that is kept here."""
        self._visits.end(token)

    async def offer_link(self) -> str:
        """Make a code that begins one operator's visit."""
        code = self._secret()
        self._visits.offer(code, now=self._parts.clock())
        return code

    async def follow_link(self, code: str) -> Visit | None:
        """Use a code up."""
        is_good = self._visits.follow(code, now=self._parts.clock())
        return await self.begin_visit(None, "") if is_good else None

    def _secret(self) -> str:
        return f"{self._place}.{secrets.token_urlsafe(_SECRET_BYTES)}"


class ConsoleFront:
    """What a cluster tells the console, the same on every host."""

    def __init__(self, side: ConsoleSide, mesh: Mesh) -> None:
        """Answer from `side` what is this host's, and ask others through a mesh."""
        self._side = side
        self._mesh = mesh

    async def hosts(self) -> tuple[HostStatus, ...]:
        """Tell how the hosts fare, in the order of their places."""
        asked = {host: self._mesh.ask(host, ConsoleSide.hosts) for host in self._mesh.others}
        own, (others, _) = await asyncio.gather(self._side.hosts(), heard(asked))
        known = {status.name: status for answer in (own, *others) for status in answer}
        names = map(host_name, sorted((self._mesh.me, *self._mesh.others)))
        return tuple(known.get(name, HostStatus(name=name, is_answering=False)) for name in names)

    async def pools(self, account_sid: str | None, *, most: int) -> PoolReports:
        """Tell how full the pools of an account, or of all, are."""
        asked = {host: self._mesh.ask(host, ConsoleSide.pools, account_sid, most=most) for host in self._mesh.others}
        own, (others, silent) = await asyncio.gather(self._side.pools(account_sid, most=most), heard(asked))
        parts = (own, *others)
        pools = most_saturated([pool for part in parts for pool in part.pools], most=most)
        return PoolReports(pools, sum(part.count for part in parts), silent)

    async def find_sessions(self, account_sid: str | None, sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of an account, or of all, newest first."""
        asked = {
            host: self._mesh.ask(host, ConsoleSide.find_sessions, account_sid, sought, most=most)
            for host in self._mesh.others
        }
        own, (others, silent) = await asyncio.gather(
            self._side.find_sessions(account_sid, sought, most=most), heard(asked)
        )
        parts = (own, *others)
        found = sorted((one for part in parts for one in part.sessions), key=lambda one: one.session.sid, reverse=True)
        is_cut = len(found) > most or any(part.is_cut for part in parts)
        return FoundSessions(tuple(found[:most]), is_cut, silent)

    async def begin_visit(self, account_sid: str | None, credential: str, proof: bytes = b"") -> Visit:
        """Let somebody in, here."""
        return await self._side.begin_visit(account_sid, credential, proof)

    async def find_visit(self, token: str, *, is_active: bool) -> Visit | None:
        """Return the visit of a token, wherever it is kept; PeerUnavailable."""
        host = self._keeper(token)
        if host is None or host == self._mesh.me:
            return await self._side.find_visit(token, is_active=is_active)
        return await soon(self._mesh.ask(host, ConsoleSide.find_visit, token, is_active=is_active))

    async def end_visit(self, token: str) -> None:
        """End a visit, wherever it is kept; PeerUnavailable."""
        host = self._keeper(token)
        if host is None or host == self._mesh.me:
            await self._side.end_visit(token)
        else:
            await soon(self._mesh.ask(host, ConsoleSide.end_visit, token))

    async def offer_link(self) -> str:
        """Make a code that begins one operator's visit."""
        return await self._side.offer_link()

    async def follow_link(self, code: str) -> Visit | None:
        """Use a code up, wherever it is kept; PeerUnavailable."""
        host = self._keeper(code)
        if host is None or host == self._mesh.me:
            return await self._side.follow_link(code)
        return await soon(self._mesh.ask(host, ConsoleSide.follow_link, code))

    def _keeper(self, secret: str) -> int | None:
        """Return the place of the host that keeps a token or code; None for one that no host has made."""
        place, _, _ = secret.partition(".")
        known = {str(host): host for host in (self._mesh.me, *self._mesh.others)}
        return known.get(place)
