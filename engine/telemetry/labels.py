"""The closed sets that labels come from, where they are more than one enumeration."""

import re
from itertools import product

from engine.core.model.errors import CATALOGUE, Code, Level
from engine.core.ports.observing import HookEnd, HookKind

OTHER = "other"
"""Label of what is outside its closed set."""

HOOK_ENDS = [
    *product([HookKind.INTERCEPT], [HookEnd.PASSED, HookEnd.BLOCKED, HookEnd.REWRITTEN, HookEnd.FAILED]),
    *product([HookKind.OUT_OF_SESSION], [HookEnd.TWIML, HookEnd.SESSION, HookEnd.LEFT, HookEnd.FAILED]),
]
"""What asking each hook can come to."""

DEBUGGER_LABELS = {code.value: (str(code.value), CATALOGUE[code].level.value) for code in Code}
"""Code and level of each debugger event."""

UNKNOWN_CODE = (OTHER, Level.ERROR.value)
"""Code and level of one that is in no catalogue."""

CONFLICT_RULES: dict[int, str] = {
    Code.PROXY_IDENTIFIER_IN_USE: "pair-in-use",
    Code.DUPLICATE_PARTICIPANT_REQUEST: "simultaneous",
    Code.PARTICIPANT_ALREADY_IN_SESSION: "already-in-session",
    Code.DUPLICATE_ENTRY: "removed-before",
    Code.TOO_MANY_PARTICIPANTS: "too-many",
    Code.SIMULTANEOUS_REQUESTS: "allowed-join",
    Code.INVALID_REOPEN: "allowed-reopen",
}
"""The rule about participants that a code tells of; the last two let the conflict happen (behaviour 7)."""

EXHAUSTION_CODES = (
    Code.NO_VOICE_PROXY,
    Code.NO_MESSAGE_PROXY,
    Code.NO_PROXY_FOR_COUNTRY,
    Code.NO_PROXIES_FOR_SERVICE,
    Code.NO_AVAILABLE_PROXY,
    Code.NO_UNRESERVED_PROXY,
    Code.NO_UNUSED_PROXY,
)
"""Codes of refusals because the pool has no number that fits."""

CONSOLE_STATUSES = [(str(status),) for status in (200, 303, 400, 401, 403, 404, 405, 413, 415, 429, 500, 503)]
"""What the console answers."""

LONGEST_NAME = 64
"""Characters of a name that an account chose, as a label."""

_TELLING = re.compile(r"\+?(?:\d[ ().-]{0,2}){6,}\d|[A-Z]{2}[0-9a-f]{32}")


def safe_label(name: str) -> str:
    """Return a name that an account chose with everything taken out that might be a phone number or a SID."""
    return _TELLING.sub("#", name)[:LONGEST_NAME]
