"""The operator's carriers as ingress knows them: what shows that something is theirs, and which numbers they serve."""

import hmac
from collections.abc import Mapping

import msgspec

from engine.core.model.records import Address
from engine.core.numbers.e164 import canonical


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier that delivers calls and messages for every account."""

    name: str
    """What the settings call it."""
    keys: tuple[str, ...]
    """Any of them signs its webhooks, and is its secret on the feed."""
    numbers: tuple[str, ...] = ()
    """How the proxy numbers begin for which it may deliver; empty = all."""

    writes_digits: bool = False
    """It writes all numbers without "+": country code and number."""

    def delivers_for(self, proxy: Address) -> bool:
        """Tell whether it may deliver what reached a number."""
        return not self.numbers or canonical(proxy).startswith(self.numbers)

    def has(self, secret: str) -> bool:
        """Tell, in constant time for each key, whether a secret is one of its keys."""
        given = secret.encode()
        return any(hmac.compare_digest(key.encode(), given) for key in self.keys)


Carriers = Mapping[str, Carrier]
"""By the AccountSid that they send."""
