"""Who is logged in to the operator's console: login sessions with their limits, and links that begin one each, once.

In memory and pure: the time and random texts are arguments. A login session ends after a time without
activity, after a longer time in any case, on log-out, when its owner has begun too many others, and with the process.
"""

from collections import OrderedDict

import msgspec


class LoginSession(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is logged in."""

    token: str
    """The secret that the browser keeps."""
    csrf: str
    """The secret that the browser's forms carry."""
    account_sid: str | None
    """Whose records may be seen; None = the operator's login session, to all accounts."""
    credential: str
    """SID of the account or key that opened it; empty for the operator's."""
    begun_at: float
    """UTC epoch seconds."""
    proof: bytes = b""
    """SHA-256 of the password that opened it: the login session ends when that is good no more."""


class LoginLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how many."""

    idle_seconds: float = 1_800.0
    """Without activity."""
    longest_seconds: float = 43_200.0
    """In any case."""
    most: int = 2_000
    """At a time; the one idle for longest makes room."""
    most_of_owner: int = 20
    """Of one account, or of the operator."""
    link_seconds: float = 300.0
    """How long a link may be followed."""
    most_links: int = 100


class _Entry:
    __slots__ = ("login", "seen_at")

    def __init__(self, login: LoginSession) -> None:
        self.login = login
        self.seen_at = login.begun_at


class LoginSessions:
    """The login sessions and links of one host; every time is UTC epoch seconds."""

    def __init__(self, limits: LoginLimits | None = None) -> None:
        """Begin with nobody."""
        self._limits = limits or LoginLimits()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # In the order of activity, the longest idle first.
        self._links: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, login: LoginSession) -> None:
        """Let a login session begin; an older one makes room where there are too many."""
        self._expire(login.begun_at)
        siblings = [token for token, one in self._entries.items() if one.login.account_sid == login.account_sid]
        for token in siblings[: max(0, len(siblings) - self._limits.most_of_owner + 1)]:
            del self._entries[token]
        while len(self._entries) >= self._limits.most:
            self._entries.popitem(last=False)
        self._entries[login.token] = _Entry(login)

    def find(self, token: str, *, now: float, is_active: bool) -> LoginSession | None:
        """Return the login session of a token; one that `is_active` may idle from now on anew."""
        self._expire(now)
        entry = self._entries.get(token)
        if entry is None or self._has_ended(entry, now):
            return None
        if is_active:
            entry.seen_at = now
            self._entries.move_to_end(token)
        return entry.login

    def end(self, token: str) -> None:
        """End a login session; harmless when there is none."""
        self._entries.pop(token, None)

    def offer(self, code: str, *, now: float) -> None:
        """Let the code of a link begin one login session."""
        while len(self._links) >= self._limits.most_links:
            self._links.popitem(last=False)
        self._links[code] = now

    def follow(self, code: str, *, now: float) -> bool:
        """Use a code up; tell whether it was good."""
        offered_at = self._links.pop(code, None)
        return offered_at is not None and 0 <= now - offered_at < self._limits.link_seconds

    def _expire(self, now: float) -> None:
        while self._entries:
            token, entry = next(iter(self._entries.items()))
            if not self._has_ended(entry, now):
                return
            del self._entries[token]

    def _has_ended(self, entry: _Entry, now: float) -> bool:
        is_idle = now - entry.seen_at >= self._limits.idle_seconds
        return is_idle or now - entry.login.begun_at >= self._limits.longest_seconds
