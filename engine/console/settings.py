"""Settings of the console, from the composition root."""

import msgspec

MAX_FORM_BYTES = 4_096
"""Largest body of a form."""

MAX_FIELDS = 8
"""Fields of a form."""

PAGE_ROWS = 25
"""Rows of a list."""

MOST_COUNTED = 100_000
"""Debugger events of each host that are counted by kind."""

MOST_ENTRIES_COUNTED = 10_000
"""Entries of the outbox of each host that are counted by kind."""

MOST_KINDS = 20
"""Kinds of debugger events, or of entries of the outbox, that are counted above their list."""

MOST_POOLS = 100
"""Services whose pools are shown on the overview."""

MOST_FINDINGS = 5
"""Sentences of the verdict that are shown; the others, which are not more urgent, are folded behind them."""

MOST_FOUND = 50
"""Sessions that a search shows."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the console is served."""

    is_secure: bool = False
    """Whether people reach it over https: then the cookie is sent over nothing else."""
    requests_per_second: int = 10
    """Of one login session, on average over `window_seconds`."""
    window_seconds: int = 5
    failed_logins: int = 10
    """Of one source address, within `login_window_seconds`."""
    failed_logins_in_all: int = 200
    """Of all source addresses together."""
    login_window_seconds: int = 300
