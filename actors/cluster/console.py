"""What the operator's console reads: of one host from `HostConsole`, of a cluster from `ClusterConsole`.

Where all hosts see the same tables, what is in them is read on any; what is in memory is gathered from all. Both
implement the port `ConsolePlane`. A login session's token and a link's code begin with the place of the host that keeps
them, so that any host of a cluster knows whom to ask.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from actors.cluster.derived import AsksOwners, fills_in
from actors.cluster.rpc import HostRpc
from actors.control.exchanges import ExchangeBook
from actors.control.history import TrafficHistory
from actors.control.services import ServiceRegister
from actors.kernel.context import HostContext
from actors.kernel.gathering import answer_soon
from actors.kernel.paging import outbox_kinds_joined
from engine.core.model.exchanges import Exchanges
from engine.core.model.history import MINUTE_SECONDS, added_up
from engine.core.model.logins import LoginSession, LoginSessions
from engine.core.model.overview import ConsolePlane, History, HostStatus, PoolReport, PoolReports, most_saturated
from engine.core.model.placement import host_name
from engine.core.model.records import ProxyNumber
from engine.core.numbers.e164 import mask_address
from engine.core.ports.lists import OutboxFilter, OutboxKinds
from engine.core.sessions.search import FoundSessions, SessionSought

_SECRET_BYTES = 32


class HostConsole:
    """What this host tells the console, and the login sessions that it keeps."""

    def __init__(
        self,
        context: HostContext,
        services: ServiceRegister,
        history: TrafficHistory,
        exchanges: ExchangeBook,
        *,
        place: int,
        status: Callable[[str], HostStatus],
    ) -> None:
        """Tell of the host at a place; `status` returns how it fares under a name."""
        self._context = context
        self._services = services
        self._history = history
        self._exchanges = exchanges
        self._place = place
        self._status = status
        self._logins = LoginSessions()

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

    async def busiest(self, service_sids: Sequence[str]) -> Mapping[str, str]:
        """Tell who has the most numbers of the pools that are coordinated here, masked."""
        found = {sid: self._services.find(sid) for sid in service_sids}
        return {
            sid: mask_address(one.busiest) for sid, one in found.items() if one is not None and one.busiest is not None
        }

    async def unused(self, service_sids: Sequence[str]) -> Mapping[str, tuple[ProxyNumber, ...]]:
        """Tell which numbers of the pools that are coordinated here no session on record has had."""
        found = {sid: self._services.find(sid) for sid in service_sids}
        idle = {sid: {number.address: number for number in one.idle_numbers} for sid, one in found.items() if one}
        had = await self._context.store.numbers_had(idle)
        return {
            sid: tuple(number for address, number in idle[sid].items() if address not in used)
            for sid, used in had.items()
        }

    async def outbox_kinds(self, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
        """Count by kind the oldest entries that are meant, of this host's outbox or of all that see the same tables."""
        return await self._context.store.outbox_kinds(wanted, most=most)

    async def history(self, since: float) -> History:
        """Tell of the traffic of this host."""
        return History(self._history.since(since))

    async def exchanges(self, account_sid: str, about: str) -> Exchanges:
        """Tell what applications were asked and told about a call or message, from here or from all likewise."""
        return Exchanges(await self._exchanges.read(account_sid, about))

    async def find_sessions(self, account_sid: str | None, sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions that are coordinated here, or by all hosts that see the same tables."""
        store = self._context.store
        ours = self._services.known if store.is_shared else (one.service for one in self._services)
        wanted = [service.sid for service in ours if account_sid in {None, service.account_sid}]
        return await store.find_sessions(wanted, sought, most=most)

    async def begin_login(self, account_sid: str | None, credential: str, proof: bytes = b"") -> LoginSession:
        """Let somebody in."""
        login = LoginSession(
            token=self._secret(),
            csrf=secrets.token_urlsafe(_SECRET_BYTES),
            account_sid=account_sid,
            credential=credential,
            begun_at=self._context.clock(),
            proof=proof,
        )
        self._logins.begin(login)
        return login

    async def find_login(self, token: str, *, is_active: bool) -> LoginSession | None:
        """Return the login session of a token that is kept here."""
        return self._logins.find(token, now=self._context.clock(), is_active=is_active)

    async def end_login(self, token: str) -> None:
        """End a login session that is kept here."""
        self._logins.end(token)

    async def offer_link(self) -> str:
        """Make a code that begins one operator's login session."""
        code = self._secret()
        self._logins.offer(code, now=self._context.clock())
        return code

    async def follow_link(self, code: str) -> LoginSession | None:
        """Use a code up."""
        is_good = self._logins.follow(code, now=self._context.clock())
        return await self.begin_login(None, "") if is_good else None

    def _secret(self) -> str:
        return f"{self._place}.{secrets.token_urlsafe(_SECRET_BYTES)}"


@fills_in(ConsolePlane, HostConsole)
class ClusterConsole(AsksOwners[HostConsole], ConsolePlane):
    """What a cluster tells the console, the same on every host; what is not written here, each tells by itself."""

    async def hosts(self) -> tuple[HostStatus, ...]:
        """Tell how the hosts fare, in the order of their places."""
        answers, _ = await self._rpc.ask_available(self._own, HostConsole.hosts)
        known = {status.name: status for answer in answers for status in answer}
        names = map(host_name, sorted((self._rpc.me, *self._rpc.others)))
        return tuple(known.get(name, HostStatus(name=name, is_answering=False)) for name in names)

    async def pools(self, account_sid: str | None, *, most: int) -> PoolReports:
        """Tell how full the pools of an account, or of all, are."""
        answers, silent = await self._rpc.ask_available(self._own, HostConsole.pools, account_sid, most=most)
        pools = most_saturated([pool for one in answers for pool in one.pools], most=most)
        return PoolReports(pools, sum(one.count for one in answers), silent)

    async def busiest(self, service_sids: Sequence[str]) -> Mapping[str, str]:
        """Tell who has the most numbers of these services' pools, masked."""
        answers, _ = await self._rpc.ask_available(self._own, HostConsole.busiest, tuple(service_sids))
        return {sid: one for answer in answers for sid, one in answer.items()}

    async def unused(self, service_sids: Sequence[str]) -> Mapping[str, tuple[ProxyNumber, ...]]:
        """Tell which numbers of these services' pools no session on record has had."""
        answers, _ = await self._rpc.ask_available(self._own, HostConsole.unused, tuple(service_sids))
        return {sid: numbers for answer in answers for sid, numbers in answer.items()}

    async def history(self, since: float) -> History:
        """Tell of the traffic of all hosts."""
        answers, silent = await self._rpc.ask_available(self._own, HostConsole.history, since)
        minutes = (one for answer in answers for one in answer.minutes)
        return History(added_up(minutes, seconds=MINUTE_SECONDS), silent)

    async def find_login(self, token: str, *, is_active: bool) -> LoginSession | None:
        """Return the login session of a token, wherever it is kept; PeerUnavailable."""
        return await answer_soon(self._at(token, HostConsole.find_login, token, is_active=is_active))

    async def end_login(self, token: str) -> None:
        """End a login session, wherever it is kept; PeerUnavailable."""
        await answer_soon(self._at(token, HostConsole.end_login, token))

    async def follow_link(self, code: str) -> LoginSession | None:
        """Use a code up, wherever it is kept; PeerUnavailable."""
        return await answer_soon(self._at(code, HostConsole.follow_link, code))


class FilesConsole(ClusterConsole):
    """The same of hosts each of which has files of its own."""

    async def outbox_kinds(self, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
        """Count by kind the oldest entries of the outbox that are meant, on the hosts that answer."""
        answers, silent = await self._rpc.ask_available(self._own, HostConsole.outbox_kinds, wanted, most=most)
        return outbox_kinds_joined(answers, silent)

    async def exchanges(self, account_sid: str, about: str) -> Exchanges:
        """Tell what applications were asked and told about a call or message, by all hosts."""
        answers, silent = await self._rpc.ask_available(self._own, HostConsole.exchanges, account_sid, about)
        found = (one for answer in answers for one in answer.exchanges)
        return Exchanges(tuple(sorted(found, key=attrgetter("at"))), silent)

    async def find_sessions(self, account_sid: str | None, sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of an account, or of all, newest first."""
        answers, silent = await self._rpc.ask_available(
            self._own, HostConsole.find_sessions, account_sid, sought, most=most
        )
        found = sorted(
            (found for one in answers for found in one.sessions), key=lambda one: one.session.sid, reverse=True
        )
        is_cut = len(found) > most or any(one.is_cut for one in answers)
        looked = [one.looked_back_to for one in answers if one.looked_back_to is not None]
        return FoundSessions(tuple(found[:most]), is_cut, silent, max(looked, default=None))


def cluster_console(own: HostConsole, rpc: HostRpc, *, is_shared: bool) -> ConsolePlane:
    """Return what the console reads of a cluster; see `Store.is_shared`."""
    others = {str(host): host for host in rpc.others}

    def keeper(secret: str) -> int:
        """Return the place of the host that keeps a token or code; this one's for one that no host has made."""
        return others.get(secret.partition(".")[0], rpc.me)

    kind = ClusterConsole if is_shared else FilesConsole
    return kind(own, rpc, keeper)  # type: ignore[abstract] # the methods that are not written are filled in
