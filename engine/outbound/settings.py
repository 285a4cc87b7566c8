"""How egress behaves where an operator may choose."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

TRIES = 26
"""Of each delivery: with the waits below they last between ten and twenty minutes."""


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, times and tries of everything that leaves."""

    allowed_networks: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`) that may be called although they are private; none by default."""
    connect_timeout_seconds: float = 5.0
    """How long one try to connect may take, TLS included."""
    connect_tries: int = 2
    """Tries to connect, over the addresses of a name in turn."""
    timeout_seconds: float = 15.0
    """How long a delivery may take in all."""
    keep_alive_seconds: float = 4.0
    """How long an idle connection is kept; below the 5 s after which many servers close theirs."""
    connections_per_destination: int = 64
    """Requests of one account to one scheme, host and port at a time, hooks and deliveries together."""
    deliveries_per_destination: int = 8
    """Entries of one account and destination delivered at a time; what is left of the connections is for hooks."""
    deliveries_to: Mapping[str, int] = {}
    """The same, for destinations that take another number."""
    window_per_destination: int = 500
    """Entries of one account and destination that are kept in memory; the others wait on disk."""
    most_in_memory: int = 20_000
    """Entries of all accounts and destinations that are kept in memory, as long as each can have a few."""
    callback_tries: int = TRIES
    """Deliveries of a callback or debugger event before it joins the dead letters."""
    carrier_tries: int = TRIES
    """The same for messages and hang-ups; only what a carrier has surely not taken is tried again."""
    first_wait_seconds: float = 1.0
    """Longest wait before the second try; doubled for each further one. Half of each wait is drawn at random."""
    longest_wait_seconds: float = 60.0
    """Where the doubling ends."""
    longest_retry_after_seconds: float = 600.0
    """How much of a receiver's `Retry-After` is waited for, before the wait that is due anyway."""
    store_pause_seconds: float = 1.0
    """Wait before a store that failed is asked again."""


class CarrierKind(StrEnum):
    """How a carrier is spoken to; closed."""

    MESSAGES_API = "messages-api"
    """`POST /2010-04-01/Accounts/{AC}/Messages.json` and its like for calls."""
    FILE = "file"
    """A line of JSON for each thing that would be sent: demos and tests."""


class CarrierSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One carrier."""

    name: str
    """What routes call it."""
    kind: CarrierKind
    url: str = ""
    """messages-api: scheme, host and path prefix, `https://api.example.com`; empty = it only sends to us."""
    account_sid: str = ""
    """messages-api: user name, account in the path, and the AccountSid of its webhooks."""
    auth_tokens: tuple[str, ...] = ()
    """messages-api: its passwords; the first is for our requests, any of them signs its webhooks."""
    auth_token_file: str = ""
    """Where `auth_tokens` are read from, a line each."""
    auth_token_variable: str = ""
    """The same, a variable of the environment."""
    signing_keys: tuple[str, ...] = ()
    """What its webhooks are signed with, where that is not the password."""
    signing_key_file: str = ""
    """Where `signing_keys` are read from, a line each."""
    signing_key_variable: str = ""
    """The same, a variable of the environment."""
    numbers: tuple[str, ...] = ()
    """How the proxy numbers begin for which it may deliver calls and messages; empty = all."""
    writes_digits: bool = False
    """It writes all numbers without "+": country code and number."""
    path: str = ""
    """file: where the lines are appended."""

    @property
    def is_sender(self) -> bool:
        """Whether messages can be sent through it."""
        return bool(self.path if self.kind is CarrierKind.FILE else self.url and self.auth_tokens)

    @property
    def inbound_keys(self) -> tuple[str, ...]:
        """What its webhooks may be signed with, and what it says hello with on the feed."""
        return self.signing_keys or self.auth_tokens
