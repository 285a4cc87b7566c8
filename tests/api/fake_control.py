"""A control plane in memory: enough rules for the REST interface to be tested against, none of the engine's own."""

# ruff: noqa: D102 - the docstrings are those of the port

from collections.abc import Sequence
from hashlib import sha256
from itertools import count
from typing import Protocol, TypeVar

import msgspec
from msgspec import UnsetType

from engine.core.model.errors import CATALOGUE, ApiError, Code, not_found
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import (
    Account,
    AccountHoldings,
    ApiKey,
    DebuggerEvent,
    Interaction,
    Kind,
    Leg,
    LegStatus,
    Participant,
    ProxyNumber,
    Service,
    Session,
)
from engine.core.model.requests import (
    AccountUpdate,
    NumberFilter,
    NumberRequest,
    NumberUpdate,
    ParticipantRequest,
    ParticipantUpdate,
    ServiceRequest,
    SessionRequest,
    SessionUpdate,
    TokenRotation,
)
from engine.core.model.sids import SidKind, ordered_sid
from engine.core.ports.lists import AlertFilter, AlertKind, AlertKinds, OutboxFilter, Page, PageCursor
from engine.core.ports.operations import Explanation, PoolEntry
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.core.sessions.batch import BatchItem, ItemDone, ItemRefused, ItemResult, UpdateItem
from engine.core.sessions.search import FoundInteractions, InteractionSought

NOW = 1_438_286_400.0
"""2015-07-30T20:00:00Z, the moment of the contract's samples."""


class HasSid(Protocol):
    """A record."""

    @property
    def sid(self) -> str:
        """Its SID."""


Record = TypeVar("Record", bound=HasSid)


def sid_of(kind: SidKind, counter: int) -> str:
    return ordered_sid(kind, milliseconds=0, counter=counter, random_bits=0)


def paged(records: Sequence[Record], cursor: PageCursor, *, is_newest_first: bool = True) -> Page[Record]:
    """Cut a page the way a store does."""
    ordered = sorted(records, key=lambda record: record.sid, reverse=is_newest_first)
    sids = [record.sid for record in ordered]
    if cursor.before is not None:
        end = sum(1 for sid in sids if (sid > cursor.before if is_newest_first else sid < cursor.before))
        start = max(0, end - cursor.limit)
    else:
        after = cursor.after
        start = 0 if after is None else sum(1 for sid in sids if (sid >= after if is_newest_first else sid <= after))
        end = start + cursor.limit
    chosen = tuple(ordered[start:end])
    return Page(chosen, has_next=end < len(ordered), has_previous=start > 0)


def settled(request: msgspec.Struct) -> dict[str, object]:
    """Return what a request really gives."""
    given = {name: getattr(request, name) for name in request.__struct_fields__}
    return {name: value for name, value in given.items() if not isinstance(value, UnsetType)}


class FakeControl:
    """Satisfies `ControlPlane`; `failure`, when set, is raised by whatever commits."""

    def __init__(self) -> None:
        self._counter = count(1)
        self.failure: Exception | None = None
        self.pool_failures: list[Exception] = []
        """What the next ones that fill a pool meet."""
        self.accounts_by_sid: dict[str, Account] = {}
        self.keys: dict[str, tuple[ApiKey, str]] = {}
        self.numbers: dict[str, ProxyNumber] = {}
        self.services: dict[str, Service] = {}
        self.sessions: dict[str, Session] = {}
        self.people: dict[str, Participant] = {}
        self.passed: dict[str, Interaction] = {}
        self.events: dict[str, DebuggerEvent] = {}
        self.entries: dict[str, OutboxEntry] = {}
        self.asked: list[msgspec.Struct] = []
        self.batches: list[tuple[BatchItem, ...]] = []

    def new_sid(self, kind: SidKind) -> str:
        return sid_of(kind, next(self._counter))

    def _commit(self, request: msgspec.Struct | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        if request is not None:
            self.asked.append(request)

    def authenticate(self, username: str, password: str) -> Account | None:
        return self.knows(username, sha256(password.encode()).digest())

    def knows(self, username: str, digest: bytes) -> Account | None:
        account = self.accounts_by_sid.get(username)
        key, secret = self.keys.get(username, (None, ""))
        secrets = () if account is None else account.tokens(NOW)
        if key is not None and key.date_revoked is None:
            account, secrets = self.accounts_by_sid.get(key.account_sid), (secret,)
        is_good = digest in {sha256(one.encode()).digest() for one in secrets}
        return account if account is not None and is_good and not account.is_disabled else None

    async def rotate_token(self, account_sid: str, rotation: TokenRotation) -> Account:
        self._commit(rotation)
        before = self.account(account_sid)
        return self._keep(before, auth_token="f" * 32, previous_token=before.auth_token, date_token_ends=NOW + 1)

    async def end_previous_token(self, account_sid: str) -> Account:
        self._commit()
        return self._keep(self.account(account_sid), previous_token=None, date_token_ends=None)

    async def enable_account(self, account_sid: str, *, is_enabled: bool) -> Account:
        self._commit()
        return self._keep(self.account(account_sid), date_disabled=None if is_enabled else NOW)

    def account_holdings(self, account_sid: str) -> AccountHoldings:
        return AccountHoldings(
            services=tuple(one.sid for one in self.services.values() if one.account_sid == account_sid),
            numbers=tuple(one.sid for one in self.numbers.values() if one.account_sid == account_sid),
        )

    async def delete_account(self, account_sid: str) -> None:
        self._commit()
        if not self.account_holdings(account_sid).is_nothing:
            raise ApiError(Code.CONFLICT, "it has something")
        del self.accounts_by_sid[account_sid]

    def _keep(self, account: Account, **changed: object) -> Account:
        self.accounts_by_sid[account.sid] = msgspec.structs.replace(account, **changed)
        return self.accounts_by_sid[account.sid]

    async def create_account(self, settings: AccountUpdate) -> Account:
        self._commit(settings)
        given = {"friendly_name": "", **settled(settings)}
        sid = self.new_sid(SidKind.ACCOUNT)
        account = msgspec.convert({**given, "sid": sid, "auth_token": f"token-{sid}", "date_created": NOW}, Account)
        self.accounts_by_sid[sid] = account
        return account

    async def update_account(self, account_sid: str, settings: AccountUpdate) -> Account:
        self._commit(settings)
        changed = msgspec.structs.replace(self.account(account_sid), **settled(settings))
        self.accounts_by_sid[account_sid] = changed
        return changed

    def account(self, account_sid: str) -> Account:
        if account_sid not in self.accounts_by_sid:
            raise not_found(account_sid)
        return self.accounts_by_sid[account_sid]

    def accounts(self) -> tuple[Account, ...]:
        return tuple(self.accounts_by_sid.values())

    async def create_api_key(self, account_sid: str, friendly_name: str) -> tuple[ApiKey, str]:
        self._commit()
        sid = self.new_sid(SidKind.API_KEY)
        key = ApiKey(
            sid=sid,
            account_sid=self.account(account_sid).sid,
            secret_hash=b"",
            friendly_name=friendly_name,
            date_created=NOW,
        )
        self.keys[sid] = (key, f"secret-{sid}")
        return self.keys[sid]

    def api_keys(self, account_sid: str) -> tuple[ApiKey, ...]:
        return tuple(key for key, _ in self.keys.values() if key.account_sid == self.account(account_sid).sid)

    async def revoke_api_key(self, key_sid: str) -> ApiKey:
        self._commit()
        if key_sid not in self.keys:
            raise not_found(key_sid)
        key, secret = self.keys[key_sid]
        self.keys[key_sid] = (msgspec.structs.replace(key, date_revoked=NOW), secret)
        return self.keys[key_sid][0]

    async def own_number(self, account_sid: str, request: NumberRequest) -> ProxyNumber:
        self._commit(request)
        if any(number.address == request.address for number in self.numbers.values()):
            raise ApiError(Code.NUMBER_NOT_AVAILABLE, "this number is taken")
        kind = SidKind.PHONE_NUMBER if request.address.startswith("+") else SidKind.SHORT_CODE
        number = ProxyNumber(
            sid=self.new_sid(kind),
            account_sid=account_sid,
            address=request.address,
            iso_country=request.iso_country or "US",
            capabilities=request.capabilities,
            friendly_name=request.friendly_name or request.address,
            date_created=NOW,
            date_updated=NOW,
        )
        self.numbers[number.sid] = number
        return number

    async def own_numbers(
        self, account_sid: str, requests: Sequence[NumberRequest]
    ) -> tuple[ProxyNumber | Exception, ...]:
        self.account(account_sid)
        results: list[ProxyNumber | Exception] = []
        for request in requests:
            try:
                results.append(await self.own_number(account_sid, request))
            except ApiError as problem:
                results.append(problem)
        return tuple(results)

    def owned_number(self, account_sid: str, number_sid: str) -> ProxyNumber:
        number = self.numbers.get(number_sid)
        if number is None or number.account_sid != account_sid:
            raise not_found(number_sid)
        return number

    def numbers_of(self, account_sid: str | None) -> tuple[ProxyNumber, ...]:
        return tuple(one for one in self.numbers.values() if account_sid in {None, one.account_sid})

    def owned_numbers_page(self, account_sid: str, cursor: PageCursor, wanted: NumberFilter) -> Page[ProxyNumber]:
        owned = [number for number in self.numbers.values() if number.account_sid == account_sid]
        return paged([number for number in owned if wanted(number)], cursor)

    async def update_owned_number(self, account_sid: str, number_sid: str, request: NumberUpdate) -> ProxyNumber:
        self._commit(request)
        changed = msgspec.structs.replace(self.owned_number(account_sid, number_sid), **settled(request))
        self.numbers[number_sid] = changed
        return changed

    async def release_number(self, account_sid: str, number_sid: str) -> None:
        self._commit()
        if self.owned_number(account_sid, number_sid).service_sid is not None:
            raise ApiError(Code.CONFLICT, "take it out of the pool first")
        del self.numbers[number_sid]

    async def create_service(self, account_sid: str, request: ServiceRequest) -> Service:
        self._commit(request)
        if any(service.unique_name == request.unique_name for service in self.services.values()):
            raise ApiError(Code.SERVICE_NAME_TAKEN, "this name is taken")
        fields: dict[str, object] = {"account_sid": account_sid, "date_created": NOW, "date_updated": NOW}
        service = msgspec.convert(fields | settled(request) | {"sid": self.new_sid(SidKind.SERVICE)}, Service)
        self.services[service.sid] = service
        return service

    def service(self, account_sid: str, sid_or_name: str) -> Service:
        for service in self.services.values():
            if service.account_sid == account_sid and sid_or_name in {service.sid, service.unique_name}:
                return service
        raise not_found(sid_or_name)

    def services_page(self, account_sid: str, cursor: PageCursor) -> Page[Service]:
        return paged([service for service in self.services.values() if service.account_sid == account_sid], cursor)

    async def update_service(self, account_sid: str, service_sid: str, request: ServiceRequest) -> Service:
        self._commit(request)
        changed = msgspec.structs.replace(self.service(account_sid, service_sid), **settled(request))
        self.services[service_sid] = changed
        return changed

    async def delete_service(self, account_sid: str, service_sid: str) -> None:
        self._commit()
        del self.services[self.service(account_sid, service_sid).sid]

    async def add_to_pool(
        self, account_sid: str, service_sid: str, *, number_sid: str | None, address: str | None, is_reserved: bool
    ) -> PoolEntry:
        self._commit()
        if self.pool_failures:
            raise self.pool_failures.pop(0)
        self.service(account_sid, service_sid)
        by_address = next((number.sid for number in self.numbers.values() if number.address == address), "")
        number = self.numbers.get(number_sid or by_address)
        if number is None:
            raise ApiError(Code.NUMBER_SID_NOT_FOUND, "no such number")
        if number.service_sid == service_sid:
            raise ApiError(Code.NUMBER_ALREADY_IN_SERVICE, "already there")
        pooled = msgspec.structs.replace(
            number, service_sid=service_sid, is_reserved=is_reserved, date_pooled=NOW, date_pool_updated=NOW
        )
        self.numbers[number.sid] = pooled
        return PoolEntry(pooled, 0)

    async def pool_entry(self, account_sid: str, service_sid: str, number_sid: str) -> PoolEntry:
        self.service(account_sid, service_sid)
        number = self.numbers.get(number_sid)
        if number is None or number.service_sid != service_sid:
            raise not_found(number_sid)
        return PoolEntry(number, 0)

    async def pool_page(
        self, account_sid: str, service_sid: str, cursor: PageCursor, *, short_codes: bool
    ) -> Page[PoolEntry]:
        self.service(account_sid, service_sid)
        pool = [number for number in self.numbers.values() if number.service_sid == service_sid]
        page = paged([number for number in pool if number.is_short_code is short_codes], cursor)
        return Page(tuple(PoolEntry(number, 0) for number in page.records), page.has_next, page.has_previous)

    async def reserve(
        self, account_sid: str, service_sid: str, number_sid: str, *, is_reserved: bool | None
    ) -> PoolEntry:
        self._commit()
        number = (await self.pool_entry(account_sid, service_sid, number_sid)).number
        if is_reserved is not None:
            self.numbers[number_sid] = msgspec.structs.replace(number, is_reserved=is_reserved)
        return PoolEntry(self.numbers[number_sid], 0)

    async def remove_from_pool(self, account_sid: str, service_sid: str, number_sid: str) -> None:
        self._commit()
        number = (await self.pool_entry(account_sid, service_sid, number_sid)).number
        self.numbers[number_sid] = msgspec.structs.replace(number, service_sid=None)

    async def create_session(self, account_sid: str, service_sid: str, request: SessionRequest) -> Session:
        self._commit(request)
        self.service(account_sid, service_sid)
        session = Session(
            sid=self.new_sid(SidKind.SESSION),
            service_sid=service_sid,
            account_sid=account_sid,
            unique_name=request.unique_name,
            status=request.status,
            mode=request.mode,
            ttl_seconds=request.ttl_seconds or 0,
            date_expiry=request.date_expiry,
            idle_since=NOW,
            date_created=NOW,
            date_updated=NOW,
        )
        self.sessions[session.sid] = session
        for participant in request.participants:
            await self.add_participant(account_sid, service_sid, session.sid, participant)
        return session

    async def batch_sessions(
        self, account_sid: str, service_sid: str, items: Sequence[BatchItem]
    ) -> tuple[ItemResult, ...]:
        self.service(account_sid, service_sid)
        self.batches.append(tuple(items))
        return tuple([await self._carried_out(account_sid, service_sid, item) for item in items])

    async def _carried_out(self, account_sid: str, service_sid: str, item: BatchItem) -> ItemResult:
        try:
            if isinstance(item, UpdateItem):
                sid = (await self.session(account_sid, service_sid, item.session)).sid
                return ItemDone(session=await self.update_session(account_sid, service_sid, sid, item.update))
            session = await self.create_session(account_sid, service_sid, item.request)
        except ApiError as problem:
            return ItemRefused(code=problem.code, message=problem.message, http_status=problem.http_status)
        return ItemDone(session=session, participants=(await self.find_session(session.sid))[1])

    async def session(self, account_sid: str, service_sid: str, session_sid: str) -> Session:
        self.service(account_sid, service_sid)
        for session in self.sessions.values():
            if session.service_sid == service_sid and session_sid in {session.sid, session.unique_name}:
                return session
        raise not_found(session_sid)

    async def sessions_page(self, account_sid: str, service_sid: str, cursor: PageCursor) -> Page[Session]:
        self.service(account_sid, service_sid)
        return paged([session for session in self.sessions.values() if session.service_sid == service_sid], cursor)

    async def update_session(
        self, account_sid: str, service_sid: str, session_sid: str, update: SessionUpdate
    ) -> Session:
        self._commit(update)
        changed = msgspec.structs.replace(await self.session(account_sid, service_sid, session_sid), **settled(update))
        self.sessions[session_sid] = changed
        return changed

    async def delete_session(self, account_sid: str, service_sid: str, session_sid: str) -> None:
        self._commit()
        del self.sessions[(await self.session(account_sid, service_sid, session_sid)).sid]

    async def find_session(self, session_sid: str) -> tuple[Session, tuple[Participant, ...]]:
        if session_sid not in self.sessions:
            raise not_found(session_sid)
        people = tuple(person for person in self.people.values() if person.session_sid == session_sid)
        return self.sessions[session_sid], people

    async def find_interaction(self, interaction_sid: str) -> Interaction:
        if interaction_sid not in self.passed:
            raise not_found(interaction_sid)
        return self.passed[interaction_sid]

    async def find_interactions(
        self, account_sid: str | None, sought: InteractionSought, *, most: int
    ) -> FoundInteractions:
        found = [one for one in self.passed.values() if account_sid in {None, one.account_sid}]
        if sought.resource_sid is not None:
            found = [
                one for one in found if sought.resource_sid in {one.inbound.resource_sid, one.outbound.resource_sid}
            ]
        if sought.proxy is not None:
            found = [one for one in found if one.proxy == sought.proxy]
        return FoundInteractions(tuple(found[:most]), has_more=len(found) > most)

    async def add_participant(
        self, account_sid: str, service_sid: str, session_sid: str, request: ParticipantRequest
    ) -> Participant:
        self._commit(request)
        await self.session(account_sid, service_sid, session_sid)
        participant = Participant(
            sid=self.new_sid(SidKind.PARTICIPANT),
            session_sid=session_sid,
            service_sid=service_sid,
            account_sid=account_sid,
            identifier=request.identifier,
            proxy_identifier=request.proxy_identifier or "+14155550199",
            proxy_identifier_sid=request.proxy_identifier_sid or sid_of(SidKind.PHONE_NUMBER, 0),
            friendly_name=request.friendly_name,
            date_created=NOW,
            date_updated=NOW,
        )
        self.people[participant.sid] = participant
        return participant

    async def participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> Participant:
        await self.session(account_sid, service_sid, session_sid)
        person = self.people.get(participant_sid)
        if person is None or person.session_sid != session_sid:
            raise not_found(participant_sid)
        return person

    async def update_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str, *, update: ParticipantUpdate
    ) -> Participant:
        self._commit(update)
        person = await self.participant(account_sid, service_sid, session_sid, participant_sid)
        if not self.services[service_sid].options.participants_may_change:
            raise ApiError(Code.METHOD_NOT_ALLOWED, "the service does not let participants change")
        self.people[participant_sid] = msgspec.structs.replace(person, **settled(update))
        return self.people[participant_sid]

    async def participants_page(
        self, account_sid: str, service_sid: str, session_sid: str, cursor: PageCursor
    ) -> Page[Participant]:
        await self.session(account_sid, service_sid, session_sid)
        return paged([person for person in self.people.values() if person.session_sid == session_sid], cursor)

    async def remove_participant(
        self, account_sid: str, service_sid: str, session_sid: str, participant_sid: str
    ) -> None:
        self._commit()
        person = await self.participant(account_sid, service_sid, session_sid, participant_sid)
        self.people[participant_sid] = msgspec.structs.replace(person, date_deleted=NOW)

    async def interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> Interaction:
        await self.session(account_sid, service_sid, session_sid)
        interaction = self.passed.get(interaction_sid)
        if interaction is None or interaction.session_sid != session_sid:
            raise not_found(interaction_sid)
        return interaction

    async def interactions_page(
        self,
        account_sid: str,
        service_sid: str,
        session_sid: str,
        cursor: PageCursor,
        *,
        participant_sid: str | None = None,
    ) -> Page[Interaction]:
        await self.session(account_sid, service_sid, session_sid)
        passed = [interaction for interaction in self.passed.values() if interaction.session_sid == session_sid]
        if participant_sid is not None:
            pushed = [interaction for interaction in passed if interaction.is_message_interaction]
            passed = [interaction for interaction in pushed if interaction.outbound.participant_sid == participant_sid]
        return paged(passed, cursor, is_newest_first=False)

    async def delete_interaction(
        self, account_sid: str, service_sid: str, session_sid: str, interaction_sid: str
    ) -> None:
        self._commit()
        interaction = await self.interaction(account_sid, service_sid, session_sid, interaction_sid)
        del self.passed[interaction.sid]

    async def send_message(
        self,
        account_sid: str,
        service_sid: str,
        session_sid: str,
        participant_sid: str,
        *,
        body: str,
        media: tuple[str, ...],
    ) -> Interaction:
        self._commit()
        person = await self.participant(account_sid, service_sid, session_sid, participant_sid)
        outbound = Leg(participant_sid=person.sid, status=LegStatus.QUEUED)
        return self.record(self.sessions[session_sid], Kind.MESSAGE, Leg(), outbound, body=body, media=media)

    async def alerts_page(
        self, account_sid: str | None, wanted: AlertFilter, cursor: PageCursor
    ) -> Page[DebuggerEvent]:
        self.asked.append(wanted)
        since, before = wanted.since or 0.0, wanted.before or float("inf")
        found = [event for event in self.events.values() if account_sid in {None, event.account_sid}]
        found = [event for event in found if since <= event.at < before]
        found = [event for event in found if wanted.code in {None, event.code}]
        for name in ("service_sid", "session_sid", "resource_sid"):
            found = [event for event in found if getattr(wanted, name) in {None, getattr(event, name)}]
        if wanted.mentions is not None:
            found = [event for event in found if wanted.mentions in {event.proxy, event.sender}]
        if wanted.level is not None:
            found = [event for event in found if CATALOGUE[Code(event.code)].level is wanted.level]
        return paged(found, cursor)

    async def alert_kinds(self, account_sid: str | None, wanted: AlertFilter, *, most: int) -> AlertKinds:
        page = await self.alerts_page(account_sid, wanted, PageCursor(limit=100, is_part_enough=True))
        found: dict[tuple[str, int, str | None], list[float]] = {}
        for event in page.records:
            found.setdefault((event.account_sid, event.code, event.service_sid), []).append(event.at)
        kinds = (AlertKind(*kind, len(times), min(times), max(times)) for kind, times in found.items())
        return AlertKinds(tuple(sorted(kinds, key=lambda one: -one.last_at)), is_cut=False)

    async def alert(self, account_sid: str | None, event_sid: str) -> DebuggerEvent:
        event = self.events.get(event_sid)
        if event is None or account_sid not in {None, event.account_sid}:
            raise not_found(event_sid)
        return event

    async def outbox_page(self, wanted: OutboxFilter, cursor: PageCursor) -> Page[OutboxEntry]:
        self.asked.append(wanted)
        found = [entry for entry in self.entries.values() if wanted.account_sid in {None, entry.account_sid}]
        found = [entry for entry in found if wanted.is_dead in {None, entry.date_died is not None}]
        return paged(found, cursor, is_newest_first=False)

    async def replay(self, entries: Sequence[OutboxEntry]) -> int:
        self._commit()
        dead = [entry for entry in entries if entry.date_died is not None]
        self.entries |= {one.sid: msgspec.structs.replace(one, date_died=None, attempts=0) for one in dead}
        return len(dead)

    async def drop(self, entries: Sequence[OutboxEntry]) -> int:
        self._commit()
        dead = [entry.sid for entry in entries if entry.date_died is not None]
        for sid in dead:
            del self.entries[sid]
        return len(dead)

    async def explain(self, *, proxy: str, sender: str) -> Explanation:
        session_sid = sid_of(SidKind.SESSION, 7)
        routed = Decision(Outcome.ROUTED, Reason.IN_SESSION, sender, proxy, session_sid=session_sid)
        refused = Decision(Outcome.REFUSED, Reason.NO_SESSION, code=Code.NO_ACTIVE_SESSION)
        return Explanation(proxy=proxy, sender="+1415555XXXX", call=routed, message=refused, story=("It is ours.",))

    def record(
        self,
        session: Session,
        kind: Kind,
        inbound: Leg,
        outbound: Leg,
        *,
        body: str | None = None,
        media: tuple[str, ...] = (),
        duration_seconds: int | None = None,
    ) -> Interaction:
        """Let something pass in a session."""
        interaction = Interaction(
            sid=self.new_sid(SidKind.INTERACTION),
            session_sid=session.sid,
            service_sid=session.service_sid,
            account_sid=session.account_sid,
            kind=kind,
            proxy="+14155550199",
            inbound=inbound,
            outbound=outbound,
            body=body,
            media=media,
            duration_seconds=duration_seconds,
            date_created=NOW,
            date_updated=NOW,
        )
        self.passed[interaction.sid] = interaction
        return interaction
