"""Changes become rows: gathers what may be written together and writes the rest in its place.

Inserts, touches and leg reports of a transaction are gathered by table, since their order among each other does not
matter; a change that depends on gathered ones has them written first. How each is written is a store's own, as are
transactions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

import msgspec
from msgspec import UnsetType
from mypy_extensions import mypyc_attr

from engine.core.model.changes import (
    AccountErased,
    AccountSaved,
    AlertRaised,
    AlertsErased,
    ApiKeySaved,
    BatchKeysErased,
    BatchKeyUsed,
    Change,
    EntryAdded,
    EntryFailed,
    EntryRevived,
    EntrySettled,
    ErasurePlanned,
    ErasuresSettled,
    InteractionErased,
    InteractionRecorded,
    InteractionUpdated,
    NoteDropped,
    NoteKept,
    NotesErased,
    NumberReleased,
    NumberSaved,
    ParticipantAdded,
    ParticipantChanged,
    ParticipantRemoved,
    RegistryAdvanced,
    RegistryRevised,
    ServiceErased,
    ServiceSaved,
    SessionChanged,
    SessionCreated,
    SessionErased,
    SessionTouched,
)
from engine.core.model.records import ACTIVE
from engine.core.routing.legs import OVER
from storage.codec import ABSENT, LEG_STATUS, SESSION_STATUS, Cell, blob, tagged
from storage.outbox_rows import alert_row, entry_row, new_entry_row
from storage.rows import (
    Row,
    account_row,
    api_key_row,
    interaction_row,
    leg_cells,
    number_row,
    participant_row,
    routed_row,
    service_row,
    session_row,
)


class Many(Enum):
    """What is written for any number of rows at once."""

    INSERT_SESSIONS = auto()
    INSERT_PARTICIPANTS = auto()
    INSERT_BATCH_KEYS = auto()
    INSERT_ROUTED = auto()
    """Rows: `ROUTED_COLUMNS`; there is no body."""
    INSERT_TEXTS = auto()
    """Rows: `ROUTED_COLUMNS`, then the body."""
    INSERT_INTERACTIONS = auto()
    TOUCH_SESSIONS = auto()
    """Rows: session, first, latest and last time of its touches."""
    UPDATE_INTERACTIONS = auto()
    """Rows: interaction, both legs, duration, time, whether the inbound leg goes on."""
    UPDATE_OUTBOUND = auto()
    """Rows: interaction, SID and state of the outbound leg, time; none is absent."""
    INSERT_ENTRIES = auto()
    INSERT_NEW_ENTRIES = auto()
    """Rows: `NEW_ENTRY_COLUMNS`."""
    FAIL_ENTRIES = auto()
    """Rows: entry, attempts, error, when it died or None, when it is tried again or None."""
    SETTLE_ENTRIES = auto()
    INSERT_ALERTS = auto()
    KEEP_NOTES = auto()
    """Rows: channel, key, value, until when, account."""
    KEEP_UNOWNED_NOTES = auto()
    """Rows: the same without the account, as there is none."""
    DROP_NOTES = auto()
    SETTLE_ERASURES = auto()
    SAVE_ACCOUNTS = auto()
    SAVE_API_KEYS = auto()
    SAVE_NUMBERS = auto()
    SAVE_SERVICES = auto()


class One(Enum):
    """What is written once, with a few cells."""

    ERASE_BATCH_KEYS = auto()
    REMOVE_PARTICIPANT = auto()
    """Cells: when, session, participant."""
    CHANGE_PARTICIPANT = auto()
    """Cells: those of `PARTICIPANT_COLUMNS`."""
    REVIVE_ENTRY = auto()
    ERASE_ALERTS = auto()
    ERASE_NOTES = auto()
    ERASE_SESSION = auto()
    ERASE_SERVICE = auto()
    ERASE_INTERACTION = auto()
    ERASE_ACCOUNT = auto()
    OWE_ERASURE = auto()
    RELEASE_NUMBER = auto()
    SAVE_REGISTRY_VERSION = auto()
    ADVANCE_REGISTRY = auto()
    """Cells: the version that must be the registry's, and the MessagePack of the changes that lead to the next."""


_encode = msgspec.msgpack.Encoder().encode

_PLAIN_FIELDS = (
    "closed_reason",
    "ttl_seconds",
    "date_expiry",
    "date_ended",
    "date_started",
    "idle_since",
)
"""Fields of SessionChanged that are columns as they are."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Applier(ABC):
    """Writes changes in order, in a transaction that the caller begins and ends; `flush` ends the work."""

    def __init__(self) -> None:
        """Gather nothing yet."""
        self._sessions: dict[str, Row] = {}
        self._participants: list[Row] = []
        self._batch_keys: list[Row] = []
        self._interactions: list[Row] = []
        self._routed: list[Row] = []
        self._texts: list[Row] = []
        self._touches: dict[str, tuple[float, float, float]] = {}
        self._updates: dict[str, Row] = {}
        self._outbounds: dict[str, Row] = {}
        self._added: dict[str, Row] = {}
        self._tried: dict[str, Row] = {}
        self._failures: dict[str, Row] = {}
        self._settled: dict[str, Row] = {}
        self._alerts: list[Row] = []
        self._notes: dict[tuple[str, bytes], Row] = {}
        self._owned_notes: dict[tuple[str, bytes], Row] = {}
        self._dropped_notes: dict[tuple[str, bytes], Row] = {}

    @abstractmethod
    def write_many(self, what: Many, rows: Sequence[Row]) -> None:
        """Write rows in their order."""

    @abstractmethod
    def write_one(self, what: One, cells: Row) -> None:
        """Write something else."""

    @abstractmethod
    def change_session(self, assignments: Sequence[str], cells: Row) -> None:
        """Change columns of a session: each assignment has a mark for a cell, or none; the last cell is the SID."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Write or gather the changes."""
        for change in changes:
            _WRITERS[type(change)](self, change)

    def flush(self) -> None:
        """Write all that was gathered; what is inserted comes before what changes it."""
        self._write(Many.INSERT_SESSIONS, self._sessions)
        self._write(Many.INSERT_PARTICIPANTS, self._participants)
        self._write(Many.INSERT_BATCH_KEYS, self._batch_keys)
        self._write(Many.INSERT_ROUTED, self._routed)
        self._write(Many.INSERT_TEXTS, self._texts)
        self._write(Many.INSERT_INTERACTIONS, self._interactions)
        if self._touches:
            touches = [(blob(sid), *times) for sid, times in self._touches.items()]
            self.write_many(Many.TOUCH_SESSIONS, touches)
            self._touches.clear()
        self._write(Many.UPDATE_INTERACTIONS, self._updates)
        self._write(Many.UPDATE_OUTBOUND, self._outbounds)
        self._flush_entries()
        self._write(Many.INSERT_ALERTS, self._alerts)
        self._write(Many.KEEP_UNOWNED_NOTES, self._notes)
        self._write(Many.KEEP_NOTES, self._owned_notes)
        self._write(Many.DROP_NOTES, self._dropped_notes)

    def _flush_entries(self) -> None:
        self._write(Many.INSERT_NEW_ENTRIES, self._added)
        self._write(Many.INSERT_ENTRIES, self._tried)
        self._write(Many.FAIL_ENTRIES, self._failures)
        self._write(Many.SETTLE_ENTRIES, self._settled)

    def _write(self, what: Many, rows: list[Row] | dict[Any, Row]) -> None:
        if rows:
            self.write_many(what, tuple(rows.values()) if isinstance(rows, dict) else rows)
            rows.clear()

    def _created(self, change: SessionCreated) -> None:
        sid = change.session.sid
        if sid in self._touches or sid in self._sessions:
            self.flush()
        self._sessions[sid] = session_row(change.session)
        self._participants.extend(map(participant_row, change.participants))

    def _key_used(self, change: BatchKeyUsed) -> None:
        key = change.key
        row = (blob(change.service_sid), key.digest, key.fingerprint, blob(change.session_sid), change.at)
        self._batch_keys.append(row)

    def _keys_erased(self, change: BatchKeysErased) -> None:
        self.flush()
        self.write_one(One.ERASE_BATCH_KEYS, (change.before, change.most))

    def _touched(self, change: SessionTouched) -> None:
        sid, at = change.session_sid, change.at
        seen = self._touches.get(sid)
        self._touches[sid] = (at, at, at) if seen is None else (seen[0], max(seen[1], at), at)

    def _changed(self, change: SessionChanged) -> None:
        if change.session_sid in self._sessions or change.session_sid in self._touches:
            self.flush()
        assignments, cells = _assignments(change)
        self.change_session(assignments, (*cells, blob(change.session_sid)))

    def _joined(self, change: ParticipantAdded) -> None:
        self._participants.append(participant_row(change.participant))

    def _left(self, change: ParticipantRemoved) -> None:
        self.flush()
        cells = (change.at, blob(change.session_sid), blob(change.participant_sid))
        self.write_one(One.REMOVE_PARTICIPANT, cells)

    def _participant_changed(self, change: ParticipantChanged) -> None:
        self.flush()
        self.write_one(One.CHANGE_PARTICIPANT, participant_row(change.participant))

    def _recorded(self, change: InteractionRecorded) -> None:
        interaction = change.interaction
        if interaction.sid in self._updates or interaction.sid in self._outbounds:
            self.flush()
        row = None if change.is_elsewhere else routed_row(interaction)
        if row is None:
            self._interactions.append(interaction_row(interaction, is_elsewhere=change.is_elsewhere))
            return
        body = interaction.body
        if body is None:
            self._routed.append(row)
        else:
            self._texts.append((*row, body))

    def _reported(self, change: InteractionUpdated) -> None:
        sid, outbound = change.interaction_sid, change.outbound
        resource_sid, status = outbound.resource_sid, outbound.status
        if change.is_outbound_alone and resource_sid is not None and status is not None:
            self._outbounds[sid] = (blob(sid), tagged(resource_sid), LEG_STATUS[status], change.at)
            return
        self._outbounds.pop(sid, None)  # this one says it, too
        self._updates[sid] = (
            blob(sid),
            *leg_cells(change.inbound),
            *leg_cells(outbound),
            ABSENT if change.duration_seconds is None else change.duration_seconds,
            change.at,
            int(change.inbound.status not in OVER),
        )

    def _entry_added(self, change: EntryAdded) -> None:
        entry = change.entry
        sid = entry.sid
        if sid in self._added or sid in self._tried or sid in self._failures or sid in self._settled:
            self._flush_entries()
        row = new_entry_row(entry)
        if row is None:
            self._tried[sid] = entry_row(entry)
        else:
            self._added[sid] = row

    def _entry_failed(self, change: EntryFailed) -> None:
        died = change.at if change.is_dead else None
        self._failures[change.entry_sid] = (
            blob(change.entry_sid),
            change.attempts,
            change.error,
            died,
            change.next_at,
        )

    def _entry_settled(self, change: EntrySettled) -> None:
        self._settled[change.entry_sid] = (blob(change.entry_sid),)

    def _entry_revived(self, change: EntryRevived) -> None:
        sid = change.entry_sid
        if sid in self._added or sid in self._tried or sid in self._failures:
            self._flush_entries()
        self.write_one(One.REVIVE_ENTRY, (blob(sid),))

    def _alert_raised(self, change: AlertRaised) -> None:
        self._alerts.append(alert_row(change.event))

    def _alerts_erased(self, change: AlertsErased) -> None:
        self.flush()
        self.write_one(One.ERASE_ALERTS, (change.before,))

    def _note_kept(self, change: NoteKept) -> None:
        note, account = (change.channel, change.key), change.account_sid
        self._forget_note(note)
        row = (change.channel, bytearray(change.key), bytearray(change.value), change.until)
        if account is None:
            self._notes[note] = row
        else:
            self._owned_notes[note] = (*row, blob(account))

    def _note_dropped(self, change: NoteDropped) -> None:
        note = (change.channel, change.key)
        self._forget_note(note)
        self._dropped_notes[note] = (change.channel, bytearray(change.key))

    def _forget_note(self, note: tuple[str, bytes]) -> None:
        """Write nothing of it that the change at hand makes void."""
        for notes in (self._notes, self._owned_notes, self._dropped_notes):
            if notes:
                notes.pop(note, None)

    def _notes_erased(self, change: NotesErased) -> None:
        self.flush()
        self.write_one(One.ERASE_NOTES, (change.before, change.most))

    def _session_erased(self, change: SessionErased) -> None:
        self.flush()
        self.write_one(One.ERASE_SESSION, (blob(change.session_sid),))

    def _erasure_planned(self, change: ErasurePlanned) -> None:
        self.write_one(One.OWE_ERASURE, (blob(change.session_sid),))

    def _erasures_settled(self, change: ErasuresSettled) -> None:
        self.write_many(Many.SETTLE_ERASURES, [(blob(sid),) for sid in change.session_sids])

    def _service_erased(self, change: ServiceErased) -> None:
        self.flush()
        self.write_one(One.ERASE_SERVICE, (blob(change.service_sid),))

    def _interaction_erased(self, change: InteractionErased) -> None:
        self.flush()
        self.write_one(One.ERASE_INTERACTION, (blob(change.interaction_sid),))

    def _account_saved(self, change: AccountSaved) -> None:
        self.write_many(Many.SAVE_ACCOUNTS, (account_row(change.account),))

    def _account_erased(self, change: AccountErased) -> None:
        self.flush()
        self.write_one(One.ERASE_ACCOUNT, (blob(change.account_sid),))

    def _api_key_saved(self, change: ApiKeySaved) -> None:
        self.write_many(Many.SAVE_API_KEYS, (api_key_row(change.key),))

    def _number_saved(self, change: NumberSaved) -> None:
        self.write_many(Many.SAVE_NUMBERS, (number_row(change.number),))

    def _number_released(self, change: NumberReleased) -> None:
        self.write_one(One.RELEASE_NUMBER, (tagged(change.number_sid),))

    def _service_saved(self, change: ServiceSaved) -> None:
        self.write_many(Many.SAVE_SERVICES, (service_row(change.service),))

    def _registry_advanced(self, change: RegistryAdvanced) -> None:
        self.write_one(One.SAVE_REGISTRY_VERSION, (change.version,))

    def _registry_revised(self, change: RegistryRevised) -> None:
        self.write_one(One.ADVANCE_REGISTRY, (change.after, bytearray(_encode(change.changes))))
        self.apply(change.changes)


def _assignments(change: SessionChanged) -> tuple[list[str], list[Cell]]:
    """Return the assignments of what a change names, and their cells."""
    assignments = ["date_updated = ?"]
    cells: list[Cell] = [change.at]
    for name in _PLAIN_FIELDS:
        value: Cell | UnsetType = getattr(change, name)
        if not isinstance(value, UnsetType):
            assignments.append(f"{name} = ?")
            cells.append(value)
    if not isinstance(change.status, UnsetType):
        assignments.append("status = ?")
        cells.append(SESSION_STATUS[change.status])
        if change.status in ACTIVE:
            assignments.append("date_activated = coalesce(date_activated, ?)")
            cells.append(change.at)
        else:
            assignments.append("date_activated = NULL")
    return assignments, cells


_WRITERS: dict[type[Change], Callable[[Applier, Any], None]] = {
    AccountSaved: Applier._account_saved,  # noqa: SLF001 - the table of its own methods
    AccountErased: Applier._account_erased,  # noqa: SLF001
    ApiKeySaved: Applier._api_key_saved,  # noqa: SLF001
    NumberSaved: Applier._number_saved,  # noqa: SLF001
    NumberReleased: Applier._number_released,  # noqa: SLF001
    ServiceSaved: Applier._service_saved,  # noqa: SLF001
    ServiceErased: Applier._service_erased,  # noqa: SLF001
    RegistryAdvanced: Applier._registry_advanced,  # noqa: SLF001
    RegistryRevised: Applier._registry_revised,  # noqa: SLF001
    BatchKeyUsed: Applier._key_used,  # noqa: SLF001
    BatchKeysErased: Applier._keys_erased,  # noqa: SLF001
    SessionCreated: Applier._created,  # noqa: SLF001
    SessionChanged: Applier._changed,  # noqa: SLF001
    SessionTouched: Applier._touched,  # noqa: SLF001
    SessionErased: Applier._session_erased,  # noqa: SLF001
    ErasurePlanned: Applier._erasure_planned,  # noqa: SLF001
    ErasuresSettled: Applier._erasures_settled,  # noqa: SLF001
    ParticipantAdded: Applier._joined,  # noqa: SLF001
    ParticipantRemoved: Applier._left,  # noqa: SLF001
    ParticipantChanged: Applier._participant_changed,  # noqa: SLF001
    InteractionRecorded: Applier._recorded,  # noqa: SLF001
    InteractionUpdated: Applier._reported,  # noqa: SLF001
    InteractionErased: Applier._interaction_erased,  # noqa: SLF001
    EntryAdded: Applier._entry_added,  # noqa: SLF001
    EntrySettled: Applier._entry_settled,  # noqa: SLF001
    EntryFailed: Applier._entry_failed,  # noqa: SLF001
    EntryRevived: Applier._entry_revived,  # noqa: SLF001
    AlertRaised: Applier._alert_raised,  # noqa: SLF001
    AlertsErased: Applier._alerts_erased,  # noqa: SLF001
    NoteKept: Applier._note_kept,  # noqa: SLF001
    NoteDropped: Applier._note_dropped,  # noqa: SLF001
    NotesErased: Applier._notes_erased,  # noqa: SLF001
}
