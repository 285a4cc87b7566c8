"""Effects and debugger events as rows and back: what is looked for in columns, the rest as one MessagePack blob."""

from typing import Final

import msgspec

from engine.core.model.effects import Duty, Effect
from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind, unpack
from storage.sqlite.codec import LEVEL, account_at, blob, key, service_at
from storage.sqlite.rows import Fetched, Row

EFFECT_COLUMNS: Final = (
    "sid, account_sid, service_sid, session_sid, destination, date_created, attempts, last_error, date_died, duty"
)
ALERT_COLUMNS: Final = "sid, account_sid, code, level, at, event"

_DUTY: Final[msgspec.msgpack.Decoder[Duty]] = msgspec.msgpack.Decoder(Duty)
_EVENT: Final = msgspec.msgpack.Decoder(DebuggerEvent)
_ENCODER: Final = msgspec.msgpack.Encoder()


def effect_row(effect: Effect) -> Row:
    """Return the row of an effect."""
    return (
        blob(effect.sid),
        blob(effect.account_sid),
        key(effect.service_sid),
        key(effect.session_sid),
        effect.destination,
        effect.date_created,
        effect.attempts,
        effect.last_error,
        effect.date_died,
        _ENCODER.encode(effect.duty),
    )


def effect_of(row: Fetched) -> Effect:
    """Return the effect of a row."""
    return Effect(
        sid=unpack(SidKind.EFFECT, row[0]),
        account_sid=account_at(row[1]),
        service_sid=None if row[2] is None else service_at(row[2]),
        session_sid=None if row[3] is None else unpack(SidKind.SESSION, row[3]),
        date_created=row[5],
        attempts=row[6],
        last_error=row[7],
        date_died=row[8],
        duty=_DUTY.decode(row[9]),
    )


def alert_row(event: DebuggerEvent) -> Row:
    """Return the row of a debugger event."""
    level = LEVEL[CATALOGUE[Code(event.code)].level]
    return blob(event.sid), blob(event.account_sid), event.code, level, event.at, _ENCODER.encode(event)


def alert_of(row: Fetched) -> DebuggerEvent:
    """Return the debugger event of a row that holds nothing else."""
    return _EVENT.decode(row[0])
