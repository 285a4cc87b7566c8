"""What is said about webhooks whose signature is not right: an event for the owner of the number, a line in the log.

Anybody can send such a webhook, so both are limited, whatever comes, and hold nothing whole that it brought.
"""

import logging
from enum import StrEnum

from engine.channels.carriers import Carriers
from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import is_sid
from engine.core.numbers.e164 import mask_address
from engine.core.ports.observing import Observer, Rejection
from engine.core.ports.operations import Clock, DataPlane

EVENT_SECONDS = 60.0
"""How long after an event an account is told of no other one of its cause."""

LINE_SECONDS = 60.0
"""How long after a line the log gets no other one of its cause."""

_SHOWN_SID = 4
_RESOURCE_KINDS = ("CA", "SM", "MM")

_log = logging.getLogger("maskline.ingress")


class Cause(StrEnum):
    """Why a signature was not right, as far as can be seen; closed."""

    MISSING = "missing"
    UNKNOWN_SENDER = "unknown-sender"
    NOT_FOR_NUMBER = "not-for-number"
    WRONG_CARRIER_KEY = "wrong-carrier-key"
    WRONG_TOKEN = "wrong-token"  # noqa: S105 - the name of a cause


_WHAT = {
    Cause.MISSING: "it has no X-Twilio-Signature. Does the platform sign, does the proxy before us keep the header?",
    Cause.UNKNOWN_SENDER: (
        "its AccountSid is neither a carrier's of the settings nor an account's of ours. A platform signs with its own "
        "account's token: add [carriers.NAME] with its account_sid and auth_token"
    ),
    Cause.NOT_FOR_NUMBER: "its carrier may not deliver for this number: see `numbers` in [carriers.NAME]",
    Cause.WRONG_CARRIER_KEY: (
        "no key of its carrier in the settings fits. Compare auth_token (or signing_key) with the platform's, and "
        "public_url with the URL that the platform calls"
    ),
    Cause.WRONG_TOKEN: (
        "the token of our account does not fit. A platform signs with its own account's token: add [carriers.NAME]; "
        "or public_url is not the URL that the platform calls"
    ),
}


class Unsigned:
    """Tells of refused signatures, within limits."""

    def __init__(
        self, data: DataPlane, carriers: Carriers, *, observer: Observer, clock: Clock, monotonic: Clock
    ) -> None:
        """Find the owners of numbers in a data plane."""
        self._data = data
        self._carriers = carriers
        self._observer = observer
        self._clock = clock
        self._monotonic = monotonic
        self._events: dict[tuple[str, Cause], float] = {}  # no more keys than accounts have causes
        self._lines: dict[Cause, float] = {}
        self._unsaid = dict.fromkeys(Cause, 0)

    def refused(self, *, account_sid: str, proxy: str, resource_sid: str, is_signed: bool, path: str) -> None:
        """Tell of one; `proxy` is the number reached, empty for the state of a leg."""
        self._observer.rejected(Rejection.BAD_SIGNATURE)
        cause = self._cause(account_sid, proxy, is_signed=is_signed)
        now = self._monotonic()
        self._write(cause, now, account_sid=account_sid, proxy=proxy, path=path)
        owner = (proxy and self._data.owner_of(proxy)) or account_sid
        if not self._data.account_tokens(owner):
            return
        last = self._events.get((owner, cause))
        if last is not None and now - last < EVENT_SECONDS:
            return
        self._events[owner, cause] = now
        is_usual = resource_sid.startswith(_RESOURCE_KINDS) and is_sid(resource_sid)
        self._observer.debugger(
            DebuggerEvent(
                code=Code.BAD_SIGNATURE,
                account_sid=owner,
                resource_sid=resource_sid if is_usual else None,
                proxy=proxy if proxy and self._data.owner_of(proxy) else None,
                message=f"{CATALOGUE[Code.BAD_SIGNATURE].title}: {_WHAT[cause]}",
                at=self._clock(),
            )
        )

    def _cause(self, account_sid: str, proxy: str, *, is_signed: bool) -> Cause:
        if not is_signed:
            return Cause.MISSING
        carrier = self._carriers.get(account_sid)
        if carrier is not None:
            is_for_it = not proxy or carrier.delivers_for(proxy)
            return Cause.WRONG_CARRIER_KEY if is_for_it else Cause.NOT_FOR_NUMBER
        return Cause.WRONG_TOKEN if self._data.account_tokens(account_sid) else Cause.UNKNOWN_SENDER

    def _write(self, cause: Cause, now: float, *, account_sid: str, proxy: str, path: str) -> None:
        last = self._lines.get(cause)
        if last is not None and now - last < LINE_SECONDS:
            self._unsaid[cause] += 1
            return
        before, self._unsaid[cause] = self._unsaid[cause], 0
        self._lines[cause] = now
        more = f" ({before} more since the last such line)" if before else ""
        number = f" for {mask_address(proxy)}" if proxy.removeprefix("+").isdecimal() else ""
        sender = f" from AccountSid …{account_sid[-_SHOWN_SID:]}" if _is_plain(account_sid) else ""
        what = f"A webhook to {path}{number}{sender} was refused{more}: {_WHAT[cause]}. docs/connect.md"
        _log.warning("%s", what, extra={"cause": cause.value})


def _is_plain(account_sid: str) -> bool:
    """Tell whether it looks like an identifier, so that its end may be shown: not like a number."""
    is_long = len(account_sid) > _SHOWN_SID * 4
    return is_long and account_sid.isascii() and account_sid.replace("-", "").isalnum() and not account_sid.isdecimal()
