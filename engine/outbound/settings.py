"""How egress behaves where an operator may choose."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from engine.core.model.settings import Fixed, Networks, Positive, Seconds, Section

TRIES = 26
"""Of each delivery: with the waits below they last between ten and twenty minutes."""


@dataclass(frozen=True, kw_only=True)
class EgressSettings(Section):
    """Limits, times and tries of everything that leaves."""

    connect_timeout_seconds: Seconds = 5.0
    """Seconds that one try to connect to a webhook or carrier may take."""
    webhook_timeout_seconds: Seconds = 15.0
    """Seconds that one delivery of a callback or debugger event, or one request to a carrier, may take in all."""
    webhook_tries: Positive = TRIES
    """Deliveries of a callback or debugger event before it joins the dead letters (`maskline outbox`)."""
    carrier_tries: Positive = TRIES
    """The same for messages and hang-ups; only what a carrier has surely not taken is tried again."""
    longest_retry_wait_seconds: Seconds = 60.0
    """Where the doubling of the wait between tries ends; the first waits up to a second, half of each is random."""
    outgoing_allow: Networks = ()
    """Private networks that webhooks and carriers may be in, such as 10.0.0.0/8; none of them is called otherwise."""
    connections_per_destination: Positive = 64
    """Requests of one account to one scheme, host and port at a time, hooks and deliveries together."""
    deliveries_per_destination: Positive = 8
    """Deliveries of one account to one destination at a time; what is left of its connections is for hooks."""
    window_per_destination: Positive = 500
    """Deliveries of one account to one destination held in memory, more for a peer's window; the rest is on disk."""
    connect_tries: Fixed[int] = 2
    """Tries to connect, over the addresses of a name in turn."""
    keep_alive_seconds: Fixed[float] = 4.0
    """How long an idle connection is kept; below the 5 s after which many servers close theirs."""
    most_in_memory: Fixed[int] = 20_000
    """Entries of all accounts and destinations that are kept in memory, as long as each can have a few."""
    first_wait_seconds: Fixed[float] = 1.0
    """Longest wait before the second try; doubled for each further one. Half of each wait is drawn at random."""
    longest_retry_after_seconds: Fixed[float] = 600.0
    """How much of a receiver's `Retry-After` is waited for, before the wait that is due anyway."""
    store_pause_seconds: Fixed[float] = 1.0
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
