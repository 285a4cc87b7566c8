"""What can go wrong, in the API's own codes: one catalogue, one small exception tree.

    MasklineError
    ├── ApiError            the caller must change or retry: carries a code of the catalogue
    ├── StoreUnavailable    the disk refused the commit: nothing was acknowledged
    │   ├── StoreLate       the commits before it take too long: it was not tried
    │   ├── StoreUnreadable the disk, or the database, refused to read
    │   └── ChangeRefused   one changeset contradicts what is stored: the rest of its group was committed
    │       └── RegistryOutrun   another host changed the registry before it
    ├── Fenced              another process is this host now: this one answers nothing more
    └── PeerUnavailable     another host did not answer: what it did is not known

Any other exception is our bug. Levels, titles and statuses: behaviour 2.5 and 17.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec


class Level(StrEnum):
    """Severity of a code in the debugger."""

    ERROR = "ERROR"
    WARNING = "WARNING"


class CatalogueEntry(msgspec.Struct, frozen=True, gc=False):
    """What a code stands for."""

    title: str
    """A few words, shown in lists."""
    level: Level
    """Severity of the debugger event."""
    http_status: int | None
    """Status when a REST request is answered with it; None when it is only ever a debugger event."""
    retry_after_seconds: int | None = None
    """After how long the same request may succeed; None when the caller has to change something."""


class Code(IntEnum):
    """Every code the engine answers or raises."""

    ACCOUNT_NOT_ACTIVE = 10001
    INBOUND_TO_INACTIVE_ACCOUNT = 10003
    PERMISSION_DENIED = 20003
    METHOD_NOT_ALLOWED = 20004
    NOT_FOUND = 20404
    CONFLICT = 20409
    TOO_MANY_REQUESTS = 20429
    INTERNAL_ERROR = 20500
    UNAVAILABLE = 20503
    BAD_PAGE_TOKEN = 21481
    TOO_MANY_MEDIA = 21623
    WEBHOOK_FETCH_FAILED = 11200
    WEBHOOK_UNREACHABLE = 11205
    WEBHOOK_RESPONSE_TOO_LARGE = 11750
    TWIML_INVALID = 12100
    TWIML_CONTENT_TYPE = 12300
    MESSAGE_WITHOUT_CONTENT = 14103

    NUMBER_IN_ANOTHER_SERVICE = 80101
    PARTICIPANT_ALREADY_IN_INTERACTION = 80102
    PARTICIPANT_ALREADY_IN_SESSION = 80103
    NUMBER_ALREADY_IN_SERVICE = 80104
    SHORT_CODE_ALREADY_IN_SERVICE = 80105
    NO_VOICE_PROXY = 80201
    NO_MESSAGE_PROXY = 80202
    NO_PROXY_FOR_COUNTRY = 80203
    NO_PROXIES_FOR_SERVICE = 80205
    NO_AVAILABLE_PROXY = 80206
    NO_UNRESERVED_PROXY = 80207
    NO_UNUSED_PROXY = 80208
    NUMBER_SID_NOT_FOUND = 80301
    SHORT_CODE_SID_NOT_FOUND = 80303
    UNMANAGED_IDENTIFIER_NOT_FOUND = 80304
    UNMANAGED_IDENTIFIER_SID_NOT_FOUND = 80305
    CHAT_SERVICE_NOT_FOUND = 80306
    RECORD_NOT_FOUND = 80307
    SESSION_NAME_NOT_FOUND = 80308
    ACCOUNT_SID_INVALID = 80401
    IDENTIFIER_PAIR_INVALID = 80402
    INTERACTION_SID_INVALID = 80403
    IDENTIFIER_INVALID = 80404
    PARTICIPANT_SID_INVALID = 80405
    NUMBER_INVALID = 80406
    NUMBER_SID_INVALID = 80407
    SERVICE_SID_INVALID = 80408
    SESSION_SID_INVALID = 80409
    STORAGE_FAILED = 80501
    DOWNSTREAM_ERROR = 80502
    NO_RECORDS_UPDATED = 80503
    ENGINE_ERROR = 80504
    FLEX_CONFIGURATION = 80505
    SERVICE_CREATION_RESTRICTED = 80506
    NUMBER_NOT_AVAILABLE = 80601
    SERVICE_NAME_TAKEN = 80602
    SESSION_NAME_TAKEN = 80603
    PROXY_IDENTIFIER_IN_USE = 80604
    PROXY_IDENTIFIER_NOT_IN_SERVICE = 80605
    PROXY_IDENTIFIER_NOT_OWNED = 80606
    SESSION_CLOSED = 80607
    SESSION_STATUS_INVALID = 80608
    TOO_MANY_PARTICIPANTS = 80609
    UNAUTHORIZED_OPERATION = 80610
    NUMBER_IN_ACTIVE_SESSIONS = 80611
    DUPLICATE_ENTRY = 80612
    DOWNSTREAM_REJECTED = 80613
    NO_PARTNER = 80614
    LEGAL_HOLD = 80615
    IDENTIFIER_TYPE_UNSUPPORTED = 80616
    FLEX_CONFIGURATION_2 = 80617
    CHAT_INTEGRATION = 80618
    CHAT_CHANNEL_ATTRIBUTE = 80619
    CHAT_PROXY_NOT_FOUND = 80620
    RATE_LIMITED = 80621
    POOL_FULL = 80622
    DUPLICATE_PARTICIPANT_REQUEST = 80623
    POOL_NEARLY_FULL = 80624
    BAD_SIGNATURE = 80625
    ACCOUNT_CHANGED = 80690
    """Ours: the API has none for what an operator does."""
    INVALID_PARAMETER = 80701
    INVALID_REOPEN = 80801
    SIMULTANEOUS_REQUESTS = 80802
    STOP_WORD = 80901
    NO_ACTIVE_SESSION = 80902
    UNKNOWN_PARTICIPANT = 80903
    SESSION_EXPIRED = 80904
    UNKNOWN_SCENARIO = 80905
    INTERACTION_NOT_OPEN = 80906
    OPEN_INTERACTION_NOT_FOUND = 80907
    CALLBACK_FAILED = 80908
    CONTACT_REJECTED = 80909
    MESSAGE_TO_VOICE_ONLY = 80910
    CALL_TO_MESSAGE_ONLY = 80911
    OUT_OF_SESSION_CALLBACK_FAILED = 80913


def _error(title: str, http_status: int | None, *, retry_after_seconds: int | None = None) -> CatalogueEntry:
    return CatalogueEntry(title, Level.ERROR, http_status, retry_after_seconds)


def _warning(title: str, http_status: int | None) -> CatalogueEntry:
    return CatalogueEntry(title, Level.WARNING, http_status)


CATALOGUE: dict[Code, CatalogueEntry] = {
    Code.ACCOUNT_NOT_ACTIVE: _error("Account is not active", None),
    Code.INBOUND_TO_INACTIVE_ACCOUNT: _error("Incoming call or message rejected: account not active", None),
    Code.PERMISSION_DENIED: _error("Permission denied", 401),
    Code.METHOD_NOT_ALLOWED: _error("Method not allowed", 405),
    Code.NOT_FOUND: _error("Not found", 404),
    Code.CONFLICT: _error("Conflict", 409),
    Code.TOO_MANY_REQUESTS: _error("Too many requests", 429, retry_after_seconds=1),
    Code.INTERNAL_ERROR: _error("Internal server error", 500),
    Code.UNAVAILABLE: _error("Service unavailable", 503, retry_after_seconds=1),
    Code.BAD_PAGE_TOKEN: _error("Invalid PageToken", 400),
    Code.WEBHOOK_FETCH_FAILED: _error("HTTP retrieval failure", None),
    Code.WEBHOOK_UNREACHABLE: _error("HTTP connection failure", None),
    Code.WEBHOOK_RESPONSE_TOO_LARGE: _error("Response body too large", None),
    Code.TWIML_INVALID: _error("Document parse failure", None),
    Code.TWIML_CONTENT_TYPE: _error("Invalid Content-Type", None),
    Code.TOO_MANY_MEDIA: _warning("Number of media files exceeds allowed limit", None),
    Code.MESSAGE_WITHOUT_CONTENT: _warning("Message has neither text nor media", None),
    Code.NUMBER_IN_ANOTHER_SERVICE: _error("Number already added to another Service", 400),
    Code.PARTICIPANT_ALREADY_IN_INTERACTION: _warning("Participant already in Interaction", 400),
    Code.PARTICIPANT_ALREADY_IN_SESSION: _error("Participant already in Session", 400),
    Code.NUMBER_ALREADY_IN_SERVICE: _warning("Phone number already in Service", 400),
    Code.SHORT_CODE_ALREADY_IN_SERVICE: _warning("Short code already in Service", 400),
    Code.NO_VOICE_PROXY: _warning("No available voice proxy", 400),
    Code.NO_MESSAGE_PROXY: _warning("No available message proxy", 400),
    Code.NO_PROXY_FOR_COUNTRY: _error("No available proxy for country", 400),
    Code.NO_PROXIES_FOR_SERVICE: _warning("No proxies for Service", 400),
    Code.NO_AVAILABLE_PROXY: _warning("No available proxy", 400),
    Code.NO_UNRESERVED_PROXY: _error("No unreserved numbers", 400),
    Code.NO_UNUSED_PROXY: _error("No available unused proxy", 400),
    Code.NUMBER_SID_NOT_FOUND: _error("Phone number SID not found", 404),
    Code.SHORT_CODE_SID_NOT_FOUND: _warning("Short code SID not found", 404),
    Code.UNMANAGED_IDENTIFIER_NOT_FOUND: _warning("Unmanaged identifier not found", 400),
    Code.UNMANAGED_IDENTIFIER_SID_NOT_FOUND: _error("Unmanaged identifier SID not found", 400),
    Code.CHAT_SERVICE_NOT_FOUND: _error("Chat service not found", 400),
    Code.RECORD_NOT_FOUND: _warning("Record to update not found", 404),
    Code.SESSION_NAME_NOT_FOUND: _error("Session with the unique name not found", 404),
    Code.ACCOUNT_SID_INVALID: _warning("Account SID invalid", 400),
    Code.IDENTIFIER_PAIR_INVALID: _warning("Identifier and proxy identifier pair invalid", 400),
    Code.INTERACTION_SID_INVALID: _warning("Interaction SID invalid", 404),
    Code.IDENTIFIER_INVALID: _error("Participant identifier invalid", 400),
    Code.PARTICIPANT_SID_INVALID: _warning("Participant SID invalid", 404),
    Code.NUMBER_INVALID: _warning("Phone number invalid", 400),
    Code.NUMBER_SID_INVALID: _warning("Phone number SID invalid", 400),
    Code.SERVICE_SID_INVALID: _warning("Service SID invalid", 404),
    Code.SESSION_SID_INVALID: _warning("Session SID invalid", 404),
    Code.STORAGE_FAILED: _error("Storage operation failed", 500, retry_after_seconds=5),
    Code.DOWNSTREAM_ERROR: _error("Downstream internal error", 500),
    Code.NO_RECORDS_UPDATED: _warning("No records updated", 404),
    Code.ENGINE_ERROR: _error("Internal server error", 500),
    Code.FLEX_CONFIGURATION: _error("Flex configuration error", 400),
    Code.SERVICE_CREATION_RESTRICTED: _error("Service creation restricted", 403),
    Code.NUMBER_NOT_AVAILABLE: _warning("Phone number not available", 400),
    Code.SERVICE_NAME_TAKEN: _warning("Non-unique Service name", 400),
    Code.SESSION_NAME_TAKEN: _error("Non-unique Session name", 400),
    Code.PROXY_IDENTIFIER_IN_USE: _warning("Proxy identifier in use", 400),
    Code.PROXY_IDENTIFIER_NOT_IN_SERVICE: _warning("Proxy identifier not in Service", 400),
    Code.PROXY_IDENTIFIER_NOT_OWNED: _warning("Proxy identifier not owned by account", 400),
    Code.SESSION_CLOSED: _warning("Session closed", 400),
    Code.SESSION_STATUS_INVALID: _error("Session status invalid", 400),
    Code.TOO_MANY_PARTICIPANTS: _warning("Too many participants", 400),
    Code.UNAUTHORIZED_OPERATION: _warning("Unauthorized operation", 403),
    Code.NUMBER_IN_ACTIVE_SESSIONS: _error("Proxy number in active Sessions", 400),
    Code.DUPLICATE_ENTRY: _error("Duplicate entry", 400),
    Code.DOWNSTREAM_REJECTED: _error("Downstream request rejected", 400),
    Code.NO_PARTNER: _warning("No partner participant found", None),
    Code.LEGAL_HOLD: _error("Account on legal hold", 403),
    Code.IDENTIFIER_TYPE_UNSUPPORTED: _error("Identifier type unsupported for mode", 400),
    Code.FLEX_CONFIGURATION_2: _error("Flex configuration error", None),
    Code.CHAT_INTEGRATION: _error("Chat integration error", 400),
    Code.CHAT_CHANNEL_ATTRIBUTE: _error("Chat channel attribute error", None),
    Code.CHAT_PROXY_NOT_FOUND: _error("Chat: proxy identifier not found", None),
    Code.RATE_LIMITED: _warning("Requests rate limited on endpoint", 429),
    Code.POOL_FULL: _error("Maximum pool size", 400),
    Code.DUPLICATE_PARTICIPANT_REQUEST: _error("Duplicate participant request", 409),
    Code.POOL_NEARLY_FULL: _warning("Approaching maximum pool size", None),
    Code.BAD_SIGNATURE: _error("Unauthorized: webhook signature", 403),
    Code.ACCOUNT_CHANGED: _warning("Account changed by the operator", None),
    Code.INVALID_PARAMETER: _warning("Parameter validation failed", 400),
    Code.INVALID_REOPEN: _error("Invalid attempt to re-open a Session", None),
    Code.SIMULTANEOUS_REQUESTS: _error("Simultaneous requests for same Identifier", None),
    Code.STOP_WORD: _warning("Message matched stop word", None),
    Code.NO_ACTIVE_SESSION: _error("No active Session", None),
    Code.UNKNOWN_PARTICIPANT: _warning("Unknown participant", None),
    Code.SESSION_EXPIRED: _warning("Expired Proxy Session", None),
    Code.UNKNOWN_SCENARIO: _warning("Unknown scenario", None),
    Code.INTERACTION_NOT_OPEN: _warning("Interaction not open", None),
    Code.OPEN_INTERACTION_NOT_FOUND: _warning("Open interaction not found", None),
    Code.CALLBACK_FAILED: _warning("Callback error", None),
    Code.CONTACT_REJECTED: _warning("Inbound contact rejected", None),
    Code.MESSAGE_TO_VOICE_ONLY: _warning("Message to voice-only session rejected", None),
    Code.CALL_TO_MESSAGE_ONLY: _warning("Call to message-only session rejected", None),
    Code.OUT_OF_SESSION_CALLBACK_FAILED: _error("Out-of-session callback error", None),
}
"""The whole of behaviour 17 and the generic codes we answer."""


class MasklineError(Exception):
    """Whatever the engine raises on purpose."""


class ApiError(MasklineError):
    """The caller's request cannot be carried out; nothing was changed."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_seconds: int | None = None,
        detail: str = "",
    ) -> None:
        """Name the code and say what the caller should change; `message` never holds a whole phone number.

        Status and time to wait are the catalogue's unless they are given; `detail` is for the operator alone.
        """
        super().__init__(message)
        entry = CATALOGUE[code]
        self.code = code
        self.message = message
        self.http_status = http_status or entry.http_status or 400
        """Status that a request of HTTP is answered with."""
        self.retry_after_seconds = retry_after_seconds or entry.retry_after_seconds
        """After how long the same request may succeed; None when the caller has to change something."""
        self.detail = detail
        """Which host or which fault of the disk it was; empty when there is no more to say."""

    @property
    def is_unforeseen(self) -> bool:
        """Whether it is a bug of ours."""
        return self.code is Code.INTERNAL_ERROR


class StoreUnavailable(MasklineError):  # noqa: N818 - names a state of the store, not a fault of the caller
    """The store could not commit (disk full, read-only, gone); retry when readiness is green again."""


class StoreLate(StoreUnavailable):
    """The outcome of a commit has been awaited for too long; until it is known, nothing new is taken."""


class StoreUnreadable(StoreUnavailable):
    """The store could not be read (the disk fails, the database is away); nothing was to be stored."""


class ChangeRefused(StoreUnavailable):
    """A changeset could not be applied, by itself: a duplicate or a malformed value; nothing of it was committed."""

    constraint = ""
    """The name of the constraint that it would break, where the store has names for them."""

    @classmethod
    def because(cls, what: str) -> "ChangeRefused":
        """Name the constraint or the kind of error; never the values, which may be phone numbers."""
        return cls(f"Nothing of this change was saved, it contradicts what is stored: {what}")


class RegistryOutrun(ChangeRefused):
    """The registry has another version than the one that its change was decided upon, or is about to have."""


class Fenced(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Another process has taken this host's place in the database: nothing more is committed or answered here."""


class PeerUnavailable(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Another host of the cluster did not answer; whether it did what was asked is not known."""


_DISK_REFUSED: Final = (
    "The disk refused, and nothing was stored. Free space or restore access to the data directory; the engine recovers "
    "by itself and /readyz turns green"
)
_ANSWERS: Final[dict[type[MasklineError], tuple[Code, str]]] = {
    PeerUnavailable: (Code.UNAVAILABLE, "The host of the cluster that this concerns does not answer; try again"),
    StoreLate: (Code.UNAVAILABLE, "The store does not answer in time, and nothing of this was stored; try again"),
    StoreUnreadable: (Code.UNAVAILABLE, "The store cannot be read now, and nothing of this was stored; try again"),
    StoreUnavailable: (
        Code.STORAGE_FAILED,
        _DISK_REFUSED,
    ),
}
"""What every interface answers when this stops a request, be it REST, an item of a batch, or another host."""


def answer_to(problem: Exception) -> ApiError:
    """Return what is answered to a failure: itself, a row of the table, or INTERNAL_ERROR for a bug of ours."""
    if isinstance(problem, ApiError):
        return problem
    for kind, (code, message) in _ANSWERS.items():
        if isinstance(problem, kind):
            return ApiError(code, message, detail=str(problem))
    return ApiError(Code.INTERNAL_ERROR, "An internal error occurred; it has been logged")


def failure_behind(answer: ApiError) -> MasklineError:
    """Return, for the answer of another host, the exception that stopped it there."""
    for kind, (code, _) in _ANSWERS.items():
        if answer.code is code:
            return kind(answer.message)
    return answer


def not_ready() -> ApiError:
    """Return the answer of every interface until the store has been read."""
    return ApiError(Code.UNAVAILABLE, "The engine is starting; try again")


def not_known() -> ApiError:
    """Return the answer to a change whose commit goes on for longer than its caller is kept waiting."""
    return ApiError(
        Code.UNAVAILABLE,
        "The store does not answer in time; whether this was stored is not known yet. Look before you ask again",
    )


def not_found(path: str) -> ApiError:
    """Return the answer for a path that names nothing the caller can see."""
    return ApiError(Code.NOT_FOUND, f"The requested resource {path} was not found")


def invalid_parameter(name: str, problem: str) -> ApiError:
    """Return the answer for a parameter that fails validation; `name` as on the wire."""
    return ApiError(Code.INVALID_PARAMETER, f"Invalid parameter {name}: {problem}")
