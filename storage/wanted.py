"""What an operator or an account wants listed of entries and debugger events, as conditions of SQL."""

from collections.abc import Callable
from typing import Final

import msgspec

from engine.core.model.sids import SidKind, first_sid_at, pack
from engine.core.ports.lists import AlertFilter, OutboxFilter
from storage.codec import LEVEL, Cell, lookup_key

_MINT_SLACK_SECONDS: Final = 60.0
"""How much earlier than an event its SID may have been made: the list, ordered by SIDs, then ends there."""


class Scope(msgspec.Struct, frozen=True):
    """A condition with marks, and the cells that belong to them."""

    text: str
    cells: tuple[Cell, ...]


class Spelling(msgspec.Struct, frozen=True):
    """What the databases say in different ways."""

    contains: str
    """Condition that a column, {}, contains some bytes."""
    tagged: Callable[[str], Cell]
    """Makes the cell of a SID of any kind."""


def entries_scope(wanted: OutboxFilter, spelling: Spelling) -> Scope:
    """Return which entries are meant; a SID that cannot be one means none."""
    conditions: list[tuple[str, Cell]] = []
    for column, kind, sid in (
        ("account_sid", SidKind.ACCOUNT, wanted.account_sid),
        ("service_sid", SidKind.SERVICE, wanted.service_sid),
        ("session_sid", SidKind.SESSION, wanted.session_sid),
    ):
        if sid is not None:
            conditions.append((f"{column} = ?", lookup_key(kind, sid)))
    if wanted.created_before is not None:
        conditions.append(("date_created < ?", wanted.created_before))
    if wanted.error is not None:
        conditions.append((spelling.contains.format("last_error"), wanted.error.encode()))
    return _scope(_LIFE[wanted.is_dead], conditions)


def alerts_scope(account_sid: str | None, wanted: AlertFilter, spelling: Spelling) -> Scope:
    """Return which debugger events of an account (None = of all) are meant."""
    conditions: list[tuple[str, Cell]] = []
    if account_sid is not None:
        conditions.append(("account_sid = ?", lookup_key(SidKind.ACCOUNT, account_sid)))
    for column, kind, sid in (
        ("service_sid", SidKind.SERVICE, wanted.service_sid),
        ("session_sid", SidKind.SESSION, wanted.session_sid),
    ):
        if sid is not None:
            conditions.append((f"{column} = ?", lookup_key(kind, sid)))
    if wanted.resource_sid is not None:
        conditions.append(("resource_sid = ?", spelling.tagged(wanted.resource_sid)))
    if wanted.mentions is not None:
        conditions.append((spelling.contains.format("event"), wanted.mentions.encode()))
    if wanted.code is not None:
        conditions.append(("code = ?", wanted.code))
    if wanted.level is not None:
        conditions.append(("level = ?", LEVEL[wanted.level]))
    if wanted.since is not None:
        conditions.append(("at >= ?", wanted.since))
        first = first_sid_at(SidKind.DEBUGGER_EVENT, at=wanted.since - _MINT_SLACK_SECONDS)
        conditions.append(("sid >= ?", pack(first)))
    if wanted.before is not None:
        conditions.append(("at < ?", wanted.before))
    return _scope("TRUE", conditions)


_LIFE: Final = {None: "TRUE", True: "date_died IS NOT NULL", False: "date_died IS NULL"}
"""Without marks, so that the index of the dead fits."""


def _scope(text: str, conditions: list[tuple[str, Cell]]) -> Scope:
    return Scope(" AND ".join([text, *(text for text, _ in conditions)]), tuple(cell for _, cell in conditions))
