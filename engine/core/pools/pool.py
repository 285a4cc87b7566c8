"""The number pool of one service: what is in it, how busy it is, and which number a participant gets.

In memory and pure; owning, storing and the rules of a session are elsewhere. Numbers are in buckets by country,
capability and area code (`engine.core.pools.usage_buckets`), so that choosing does not walk the pool.
Source: behaviour 3.2, 5, 6.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Address, Capability, GeoMatchLevel, Mode, NumberSelectionBehavior, ProxyNumber
from engine.core.numbers.countries import serving_countries
from engine.core.numbers.e164 import country_of, mask_address
from engine.core.numbers.nanp import area_code, near, overlay_of
from engine.core.pools.usage_buckets import Position, UsageBucket, least_used, least_used_beside
from engine.core.sessions.modes import MODES

MOST_UNRESERVED: Final = 500
"""Unreserved numbers and short codes of a service."""
MOST_RESERVED: Final = 5_000
"""Reserved numbers and short codes of a service."""
WARNING_PERCENT: Final = 85
"""Share of either limit from which each addition warns (80624)."""

_ABILITIES: Final = (Capability.VOICE, Capability.SMS, Capability.VOICE | Capability.SMS)
"""What numbers may be able to do, the least useful first."""
_SERVING_ABILITIES: Final = {
    mode: tuple(abilities for abilities in _ABILITIES if rules.needs in abilities) for mode, rules in MODES.items()
}

_BucketKey = tuple[str, Capability, str | None]
"""Country, abilities, and area code (None: the bucket of the whole country)."""


class _Entry:
    """A number of the pool; in two buckets at most, in none while it is reserved."""

    __slots__ = ("by_area", "by_country", "in_use", "number")

    def __init__(self, number: ProxyNumber) -> None:
        self.number = number
        self.in_use = 0
        self.by_country: UsageBucket | None = None
        self.by_area: UsageBucket | None = None

    @property
    def is_used(self) -> bool:
        """Whether it is unreserved and in an active session."""
        return self.in_use > 0 and not self.number.is_reserved

    def bucket_for(self, want: "_Want") -> UsageBucket | None:
        return self.by_country if want.area_codes is None else self.by_area


class _Want(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a participant needs of a number."""

    identifier: Address
    mode: Mode
    countries: tuple[str, ...]
    area_codes: frozenset[str] | None
    """None = anywhere in the countries."""
    geo: GeoMatchLevel


class PoolState(msgspec.Struct, frozen=True, gc=False):
    """How full a pool is."""

    free: int
    """Unreserved numbers that no active session uses."""
    in_use: int
    """Unreserved numbers that one does."""
    reserved: int
    """Numbers that are given on demand only, in use or not."""
    most_held: int = 0
    """How many numbers the participant has who has the most."""

    @property
    def saturation(self) -> float:
        """Share of the unreserved numbers that the busiest participant has: at 1 the next session refuses them."""
        unreserved = self.free + self.in_use
        return self.most_held / unreserved if unreserved else 0.0

    @property
    def fill(self) -> float:
        """Share of its limit of unreserved or reserved numbers that the pool has, the larger of both."""
        return max((self.free + self.in_use) / MOST_UNRESERVED, self.reserved / MOST_RESERVED)


class Pool:
    """The numbers of one service and how many active sessions use each."""

    __slots__ = ("_buckets", "_by_sid", "_entries", "_reserved", "_used")

    def __init__(self, numbers: Iterable[ProxyNumber] = ()) -> None:
        """Start with these numbers, none of them in use."""
        self._entries: dict[Address, _Entry] = {}
        self._by_sid: dict[str, _Entry] = {}
        self._buckets: dict[_BucketKey, UsageBucket] = {}
        self._reserved = 0
        self._used = 0
        for number in numbers:
            self.add(number)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ProxyNumber]:
        return (entry.number for entry in self._entries.values())

    def get(self, address: Address) -> ProxyNumber | None:
        """Find a number by its address."""
        entry = self._entries.get(address)
        return None if entry is None else entry.number

    def get_by_sid(self, sid: str) -> ProxyNumber | None:
        """Find a number by its PN or SC SID."""
        entry = self._by_sid.get(sid)
        return None if entry is None else entry.number

    def in_use(self, address: Address) -> int:
        """Tell how many active sessions use a number; 0 for one that is not here."""
        entry = self._entries.get(address)
        return 0 if entry is None else entry.in_use

    def idle(self) -> tuple[ProxyNumber, ...]:
        """Return the numbers that no active session uses, reserved or not."""
        return tuple(entry.number for entry in self._entries.values() if not entry.in_use)

    def state(self, *, most_held: int = 0) -> PoolState:
        """Tell how full the pool is."""
        unreserved = len(self._entries) - self._reserved
        return PoolState(unreserved - self._used, self._used, self._reserved, most_held)

    def check_room(self, *, is_reserved: bool, adding: int = 1) -> bool:
        """Tell whether that many more reserved (or unreserved) entries bring the pool to its warning mark.

        To be asked before an addition, and before an entry changes from one kind to the other.
        Raises ApiError POOL_FULL when there is no room.
        """
        most = MOST_RESERVED if is_reserved else MOST_UNRESERVED
        present = self._reserved if is_reserved else len(self._entries) - self._reserved
        if present + adding > most:
            kind = "reserved" if is_reserved else "unreserved"
            raise ApiError(Code.POOL_FULL, f"The Service has {present} {kind} numbers already, of at most {most}")
        return (present + adding) * 100 >= most * WARNING_PERCENT

    def add(self, number: ProxyNumber) -> None:
        """Put in a number that is in no active session."""
        entry = _Entry(number)
        self._entries[number.address] = entry
        self._by_sid[number.sid] = entry
        self._reserved += number.is_reserved
        self._add_to_buckets(entry)

    def replace(self, number: ProxyNumber) -> None:
        """Take over the changed record of a number that is here; its sessions are not disturbed."""
        entry = self._by_sid[number.sid]
        self._remove_from_buckets(entry)
        self._reserved += number.is_reserved - entry.number.is_reserved
        self._used -= entry.is_used
        entry.number = number
        self._used += entry.is_used
        self._add_to_buckets(entry)

    def remove(self, number_sid: str) -> None:
        """Take out a number."""
        entry = self._by_sid.pop(number_sid)
        del self._entries[entry.number.address]
        self._reserved -= entry.number.is_reserved
        self._used -= entry.is_used
        self._remove_from_buckets(entry)

    def use(self, address: Address) -> None:
        """Count one more active session; once for a session whose participants share the number."""
        self._move(self._entries[address], 1)

    def use_all(self, uses: Mapping[Address, int]) -> None:
        """Count n more active sessions of each number: the same as `use` for each, in one move."""
        for address, times in uses.items():
            entry = self._entries[address]
            self._remove_from_buckets(entry)
            self._used -= entry.is_used
            entry.in_use += times
            self._used += entry.is_used
            self._add_to_buckets(entry)

    def release(self, address: Address) -> None:
        """Count one active session less; ValueError when none was counted."""
        entry = self._entries[address]
        if not entry.in_use:
            raise ValueError(mask_address(address))
        self._move(entry, -1)

    def select(
        self,
        *,
        mode: Mode,
        identifier: Address,
        geo: GeoMatchLevel,
        behavior: NumberSelectionBehavior,
        held: Collection[Address],
        history: Mapping[Address, float],
        choose: Callable[[int], int],
        joins_us_and_canada: bool,
    ) -> ProxyNumber:
        """Choose the proxy number of a participant; nothing is counted until `use`.

        `held` are the numbers that the identifier has in active sessions: never given again. `history` are those it
        has had in any session, each with when. `choose` returns a random index below its argument.

        Raises:
            ApiError: 80201, 80202, 80203, 80205, 80206, 80207 or 80208, by what the pool lacks.
        """
        want = _Want(
            identifier=identifier,
            mode=mode,
            countries=_countries_for(identifier, joins_us_and_canada=joins_us_and_canada),
            area_codes=_area_codes_for(identifier, geo),
            geo=geo,
        )
        buckets = self._buckets_for(want)
        if not buckets:
            raise self._refusal(want)
        taken = frozenset(held)
        known = self._entries_in(history.keys() - taken, buckets, want) if history else ()
        if known and behavior is NumberSelectionBehavior.PREFER_STICKY:
            return max(known, key=lambda entry: (history[entry.number.address], -entry.in_use)).number
        excluded = self._entries_in(taken, buckets, want) + known if taken else known
        address = (
            least_used_beside(buckets, _positions(excluded, want), choose) if excluded else least_used(buckets, choose)
        )
        if address is not None:
            return self._entries[address].number
        if known:
            return min(known, key=lambda entry: (history[entry.number.address], entry.in_use)).number
        problem = "the participant uses every matching number in an active Session already"
        raise _refuse(Code.NO_UNUSED_PROXY, identifier, problem)

    def _add_to_buckets(self, entry: _Entry) -> None:
        number = entry.number
        if number.is_reserved:
            return
        abilities = _abilities(number)
        entry.by_country = self._bucket((number.iso_country, abilities, None))
        entry.by_country.put(number.address, entry.in_use)
        code = area_code(number.address)
        if code is not None:
            entry.by_area = self._bucket((number.iso_country, abilities, code))
            entry.by_area.put(number.address, entry.in_use)

    def _bucket(self, key: _BucketKey) -> UsageBucket:
        return self._buckets.setdefault(key, UsageBucket())

    def _remove_from_buckets(self, entry: _Entry) -> None:
        for bucket in (entry.by_country, entry.by_area):
            if bucket is not None:
                bucket.take(entry.number.address, entry.in_use)
        entry.by_country = entry.by_area = None

    def _move(self, entry: _Entry, step: int) -> None:
        for bucket in (entry.by_country, entry.by_area):
            if bucket is not None:
                bucket.move(entry.number.address, entry.in_use, entry.in_use + step)
        self._used -= entry.is_used
        entry.in_use += step
        self._used += entry.is_used

    def _buckets_for(self, want: _Want) -> list[UsageBucket]:
        codes = (None,) if want.area_codes is None else want.area_codes
        found = (
            self._buckets.get((country, abilities, code))
            for country in want.countries
            for abilities in _SERVING_ABILITIES[want.mode]
            for code in codes
        )
        return [bucket for bucket in found if bucket is not None and bucket.levels]

    def _entries_in(
        self, addresses: Iterable[Address], buckets: Sequence[UsageBucket], want: _Want
    ) -> tuple[_Entry, ...]:
        entries = (self._entries.get(address) for address in addresses)
        return tuple(entry for entry in entries if entry is not None and entry.bucket_for(want) in buckets)

    def _refusal(self, want: _Want) -> ApiError:
        """Say what the pool lacks, given that no unreserved number fits; walks the pool."""
        numbers = tuple(self)
        if not numbers:
            return _refuse(Code.NO_PROXIES_FOR_SERVICE, want.identifier, "the Service has no numbers")
        local = [number for number in numbers if number.iso_country in want.countries]
        able = [number for number in numbers if _is_able(number, want.mode)]
        fitting = [number for number in local if _is_able(number, want.mode)]
        if not fitting and (local or not able):
            code, problem = _lacking(local or numbers, want.mode)
            return _refuse(code, want.identifier, f"for the mode {want.mode}, {problem}")
        if not fitting:
            return _refuse(Code.NO_PROXY_FOR_COUNTRY, want.identifier, "no number is of the participant's country")
        if want.area_codes is not None and not any(area_code(number.address) in want.area_codes for number in fitting):
            problem = f"no number meets the geo match level {want.geo}"
            return _refuse(Code.NO_AVAILABLE_PROXY, want.identifier, problem)
        return _refuse(Code.NO_UNRESERVED_PROXY, want.identifier, "all matching numbers are reserved")


def capability_problem(number: ProxyNumber, mode: Mode) -> ApiError | None:
    """Return why a number chosen by the application cannot serve a mode, None when it can."""
    if _is_able(number, mode):
        return None
    code, problem = _lacking((number,), mode)
    return ApiError(code, f"Proxy number {mask_address(number.address)} cannot serve the mode {mode}: {problem}")


def _abilities(number: ProxyNumber) -> Capability:
    """Tell which of voice and SMS a number has, each only when it has both ways; short codes never have voice."""
    voice = Capability.VOICE if Capability.VOICE in number.capabilities and not number.is_short_code else Capability(0)
    return voice | Capability.SMS if Capability.SMS in number.capabilities else voice


def _is_able(number: ProxyNumber, mode: Mode) -> bool:
    return MODES[mode].needs in _abilities(number)


def _lacking(numbers: Iterable[ProxyNumber], mode: Mode) -> tuple[Code, str]:
    """Name what numbers of which none is able to serve the mode lack."""
    found = [_abilities(number) for number in numbers]
    has_voice = any(Capability.VOICE in abilities for abilities in found)
    has_sms = any(Capability.SMS in abilities for abilities in found)
    needs = MODES[mode].needs
    if Capability.VOICE in needs and not has_voice:
        return Code.NO_VOICE_PROXY, "it takes voice in both directions"
    if Capability.SMS in needs and not has_sms:
        return Code.NO_MESSAGE_PROXY, "it takes SMS in both directions"
    return Code.NO_VOICE_PROXY, "it takes one number with both voice and SMS"


def _refuse(code: Code, identifier: Address, problem: str) -> ApiError:
    message = f"The Service has no compatible proxy number for Participant {mask_address(identifier)}: {problem}"
    return ApiError(code, message)


def _countries_for(identifier: Address, *, joins_us_and_canada: bool) -> tuple[str, ...]:
    country = country_of(identifier)
    return () if country is None else serving_countries(country, joins_us_and_canada=joins_us_and_canada)


def _area_codes_for(identifier: Address, geo: GeoMatchLevel) -> frozenset[str] | None:
    code = None if geo is GeoMatchLevel.COUNTRY else area_code(identifier)
    if code is None:
        return None
    match geo:
        case GeoMatchLevel.AREA_CODE:
            return frozenset((code,))
        case GeoMatchLevel.RADIUS:
            return near(code)
        case _:
            return overlay_of(code)


def _positions(entries: Iterable[_Entry], want: _Want) -> Iterator[Position]:
    for entry in entries:
        bucket = entry.bucket_for(want)
        if bucket is not None:
            yield bucket, entry.in_use, entry.number.address


def unpooled(number: ProxyNumber) -> ProxyNumber:
    """Return a number outside of any pool."""
    return msgspec.structs.replace(
        number, service_sid=None, is_reserved=False, date_pooled=None, date_pool_updated=None
    )
