"""The store as plain dictionaries: what each change means, one by one, for the model test."""

import msgspec
from msgspec import UnsetType

from engine.core.model.changes import (
    Change,
    InteractionErased,
    InteractionRecorded,
    InteractionUpdated,
    NumberReleased,
    NumberSaved,
    ParticipantAdded,
    ParticipantChanged,
    ParticipantRemoved,
    ServiceErased,
    ServiceSaved,
    SessionChanged,
    SessionCreated,
    SessionErased,
    SessionTouched,
)
from engine.core.model.records import (
    ACTIVE,
    Address,
    Interaction,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from engine.core.routing.legs import is_open_call


class Model:
    """Holds records by SID, and when each active session was activated."""

    def __init__(self) -> None:
        self.numbers: dict[str, ProxyNumber] = {}
        self.services: dict[str, Service] = {}
        self.sessions: dict[str, Session] = {}
        self.activated: dict[str, float] = {}
        self.participants: dict[str, Participant] = {}
        self.interactions: dict[str, Interaction] = {}

    def apply(self, change: Change) -> None:  # noqa: C901, PLR0912 - one case a change
        """Do what the change says."""
        match change:
            case ServiceSaved(service):
                self.services[service.sid] = service
            case NumberSaved(number):
                self.numbers[number.sid] = number
            case NumberReleased(number_sid):
                self.numbers.pop(number_sid, None)
            case SessionCreated(session, participants):
                self.sessions[session.sid] = session
                if session.is_active:
                    self.activated[session.sid] = session.date_created
                self.participants.update((one.sid, one) for one in participants)
            case SessionTouched(session_sid, at):
                self._touch(session_sid, at)
            case SessionChanged():
                self._change(change)
            case SessionErased(session_sid):
                self._erase_session(session_sid)
            case ServiceErased(service_sid):
                self._erase_service(service_sid)
            case ParticipantAdded(participant):
                self.participants[participant.sid] = participant
            case ParticipantChanged(participant):
                if participant.sid in self.participants:
                    self.participants[participant.sid] = participant
            case ParticipantRemoved(sid, _, at):
                if sid in self.participants:
                    kept = msgspec.structs.replace(self.participants[sid], date_deleted=at, date_updated=at)
                    self.participants[sid] = kept
            case InteractionRecorded(interaction):
                self.interactions[interaction.sid] = interaction
            case InteractionUpdated():
                self._update(change)
            case InteractionErased(interaction_sid):
                self.interactions.pop(interaction_sid, None)
            case _:
                raise NotImplementedError

    def active_sessions(self) -> list[tuple[Session, tuple[Participant, ...]]]:
        """Return the active sessions in the order of activation, with their live participants."""
        order = sorted((at, sid) for sid, at in self.activated.items())
        return [
            (self.sessions[sid], tuple(one for one in self.people(sid) if one.date_deleted is None)) for _, sid in order
        ]

    def people(self, session_sid: str) -> tuple[Participant, ...]:
        """Return a session's participants, oldest first."""
        return tuple(self.participants[sid] for sid in sorted(self.participants) if self._is_in(sid, session_sid))

    def passed(self, session_sid: str) -> tuple[Interaction, ...]:
        """Return a session's interactions, oldest first."""
        return tuple(one for _, one in sorted(self.interactions.items()) if one.session_sid == session_sid)

    def open_calls(self) -> list[Interaction]:
        """Return the calls whose inbound leg has not ended."""
        return [one for _, one in sorted(self.interactions.items()) if is_open_call(one)]

    def held(self, service_sid: str, identifier: Address) -> dict[Address, float]:
        """Return the proxy numbers of an identifier, each with when it was last given."""
        held: dict[Address, float] = {}
        for one in self.participants.values():
            if (one.service_sid, one.identifier) == (service_sid, identifier):
                held[one.proxy_identifier] = max(one.date_created, held.get(one.proxy_identifier, 0.0))
        return held

    def last_session(self, service_sid: str, identifier: Address, proxy: Address) -> Session | None:
        """Return the newest session of a pair."""
        wanted = (service_sid, identifier, proxy)
        sids = [
            one.session_sid
            for one in self.participants.values()
            if (one.service_sid, one.identifier, one.proxy_identifier) == wanted
        ]
        return self.sessions[max(sids)] if sids else None

    def _is_in(self, participant_sid: str, session_sid: str) -> bool:
        return self.participants[participant_sid].session_sid == session_sid

    def _touch(self, session_sid: str, at: float) -> None:
        session = self.sessions.get(session_sid)
        if session is None or session.status is SessionStatus.CLOSED:
            return
        self.sessions[session_sid] = msgspec.structs.replace(
            session,
            status=SessionStatus.IN_PROGRESS,
            date_started=at if session.date_started is None else session.date_started,
            date_last_interaction=max(session.date_last_interaction or at, at),
            idle_since=max(session.idle_since, at),
            date_updated=at,
        )

    def _change(self, change: SessionChanged) -> None:
        session = self.sessions.get(change.session_sid)
        if session is None:
            return
        fields = msgspec.structs.asdict(change)
        named = {name: value for name, value in fields.items() if not isinstance(value, UnsetType)}
        del named["session_sid"], named["at"]
        self.sessions[session.sid] = msgspec.structs.replace(session, **named, date_updated=change.at)
        if change.status in ACTIVE:
            self.activated.setdefault(session.sid, change.at)
        elif change.status is SessionStatus.CLOSED:
            self.activated.pop(session.sid, None)

    def _update(self, change: InteractionUpdated) -> None:
        interaction = self.interactions.get(change.interaction_sid)
        if interaction is not None:
            self.interactions[interaction.sid] = msgspec.structs.replace(
                interaction,
                inbound=change.inbound,
                outbound=change.outbound,
                duration_seconds=change.duration_seconds,
                date_updated=change.at,
            )

    def _erase_session(self, session_sid: str) -> None:
        self.sessions.pop(session_sid, None)
        self.activated.pop(session_sid, None)
        self.participants = {sid: one for sid, one in self.participants.items() if one.session_sid != session_sid}
        self.interactions = {sid: one for sid, one in self.interactions.items() if one.session_sid != session_sid}

    def _erase_service(self, service_sid: str) -> None:
        for sid in [one.sid for one in self.sessions.values() if one.service_sid == service_sid]:
            self._erase_session(sid)
        self.services.pop(service_sid, None)
        for number in list(self.numbers.values()):
            if number.service_sid == service_sid:
                self.numbers[number.sid] = msgspec.structs.replace(
                    number, service_sid=None, is_reserved=False, date_pooled=None, date_pool_updated=None
                )
