"""Which host of a cluster owns what: rendezvous hashing, the same for every host and every client of the feed.

A proxy number's actor, a service's coordinator and whatever else has one owner is owned by the host whose weight for
the key is the largest. With one host more or less, only the keys that it owns move. Where the hosts share the tables
of a database, the key that is weighed is that of the shard, so that a host finds its rows by their shards. Source:
Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
"""

from functools import cache
from hashlib import sha256
from typing import Final

from engine.core.model.records import Address

SHARDS = 1024
"""Into which the keys of a cluster with a database are divided, for good."""

REGISTRAR: Final = 0
"""The place of the host that owns the registry, where hosts have files: accounts, keys, owned numbers and services."""

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


def shards_of(place: int, hosts: int) -> tuple[int, ...]:
    """Return the shards that the host at a place owns, in order."""
    return tuple(shard for shard, owner in enumerate(_shard_owners(hosts)) if owner == place)


@cache
def _shard_owners(hosts: int) -> tuple[int, ...]:
    """Return the place of the owner of each shard, whose key is its number in decimal digits."""
    return tuple(owner_of(str(shard), hosts) for shard in range(SHARDS))


def _weight(name: str, key: str) -> bytes:
    """Return the first eight bytes of the SHA-256 of "NAME/KEY"; weights compare as big-endian integers do."""
    return sha256(f"{name}/{key}".encode()).digest()[:_WEIGHT_BYTES]


class Placement:
    """Remembers who owns which key, for the hot path; forgets all when it is full."""

    __slots__ = ("_capacity", "_known", "by_shard", "hosts")

    def __init__(self, hosts: int, *, by_shard: bool = False, capacity: int = 1_000_000) -> None:
        """Place keys on n hosts, each for itself or with its shard; `capacity` is how many keys are remembered."""
        self.hosts = hosts
        self.by_shard = by_shard
        self._capacity = capacity
        self._known: dict[str, int] = {}

    def __call__(self, key: Address | str) -> int:
        """Return the place of the host that owns a key, or its shard."""
        place = self._known.get(key)
        if place is None:
            if len(self._known) >= self._capacity:
                self._known.clear()
            place = _shard_owners(self.hosts)[shard_of(key)] if self.by_shard else owner_of(key, self.hosts)
            self._known[key] = place
        return place
