"""Which host of a cluster owns what: rendezvous hashing, the same for every host and every client of the feed.

A proxy number's actor, a service's coordinator and whatever else has one owner is owned by the host whose weight for
the key is the largest. With one host more or less, only the keys that it owns move. Source: Thaler and Ravishankar,
"Using name-based mappings to increase hit rates" (1998).
"""

from hashlib import sha256
from typing import Final

from engine.core.model.records import Address

SHARDS = 1024
"""Into which the keys of a cluster with a database are divided, for good."""

REGISTRAR: Final = 0
"""The place of the host that owns the registry: accounts, keys, owned numbers and services."""

_WEIGHT_BYTES = 8


def host_name(place: int) -> str:
    """Return the name of the host at a place, counted from 0."""
    return f"host-{place}"


def owner_of(key: Address | str, hosts: int) -> int:
    """Return the place of the host that owns a key: a proxy number in canonical form, or the SID of a service."""
    if hosts == 1:
        return 0
    return max(range(hosts), key=lambda place: _weight(host_name(place), key))


def shard_of(key: Address | str) -> int:
    """Return the shard of a key: a proxy number in canonical form, or the SID of a service or an account."""
    return int.from_bytes(sha256(key.encode()).digest()[:_WEIGHT_BYTES]) % SHARDS


def _weight(name: str, key: str) -> bytes:
    """Return the first eight bytes of the SHA-256 of "NAME/KEY"; weights compare as big-endian integers do."""
    return sha256(f"{name}/{key}".encode()).digest()[:_WEIGHT_BYTES]


class Placement:
    """Remembers who owns which key, for the hot path; forgets all when it is full."""

    __slots__ = ("_capacity", "_known", "hosts")

    def __init__(self, hosts: int, *, capacity: int = 1_000_000) -> None:
        """Place keys on n hosts; `capacity` is how many keys are remembered."""
        self.hosts = hosts
        self._capacity = capacity
        self._known: dict[str, int] = {}

    def __call__(self, key: Address | str) -> int:
        """Return what `owner_of` says of a key."""
        place = self._known.get(key)
        if place is None:
            if len(self._known) >= self._capacity:
                self._known.clear()
            place = self._known[key] = owner_of(key, self.hosts)
        return place
