"""The number pool: who gets which number, and every way to get none (behaviour 5, 6)."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Address, Capability, GeoMatchLevel, Mode, NumberSelectionBehavior, ProxyNumber
from engine.core.pools.pool import Pool, PoolState, capability_problem

ALICE = "+19728041234"
BOB = "+12145551234"
CAROL = "+14155550100"
JAPANESE = "+819012345678"
ANTIGUAN = "+12684641234"
GUERNSEYMAN = "+441481960194"

N1 = "+19725550001"
N2 = "+19725550002"
N3 = "+14155550003"

NO_HISTORY: Mapping[Address, float] = {}


def number(
    address: Address, *, country: str = "US", capabilities: Capability = Capability.ALL, is_reserved: bool = False
) -> ProxyNumber:
    kind = "PN" if address.startswith("+") else "SC"
    return ProxyNumber(
        sid=kind + address.removeprefix("+").zfill(32),
        account_sid="AC" + "0" * 32,
        address=address,
        iso_country=country,
        capabilities=capabilities,
        friendly_name=address,
        date_created=0.0,
        date_updated=0.0,
        is_reserved=is_reserved,
    )


def pool_of(*addresses: Address) -> Pool:
    return Pool(number(address) for address in addresses)


def first(_count: int) -> int:
    return 0


def last(count: int) -> int:
    return count - 1


def choose(
    pool: Pool,
    identifier: Address,
    *,
    mode: Mode = Mode.VOICE_AND_MESSAGE,
    geo: GeoMatchLevel = GeoMatchLevel.COUNTRY,
    behavior: NumberSelectionBehavior = NumberSelectionBehavior.PREFER_STICKY,
    held: Collection[Address] = (),
    history: Mapping[Address, float] = NO_HISTORY,
    choose: Callable[[int], int] = first,
    joins_us_and_canada: bool = False,
) -> Address:
    return pool.select(
        mode=mode,
        identifier=identifier,
        geo=geo,
        behavior=behavior,
        held=held,
        history=history,
        choose=choose,
        joins_us_and_canada=joins_us_and_canada,
    ).address


def refusal_of(pool: Pool, identifier: Address, *, mode: Mode = Mode.VOICE_AND_MESSAGE, **wishes: object) -> Code:
    with pytest.raises(ApiError) as refusal:
        choose(pool, identifier, mode=mode, **wishes)  # type: ignore[arg-type]
    assert identifier not in refusal.value.message
    return refusal.value.code


def test_the_documented_example_needs_two_numbers_for_three_sessions() -> None:
    """Customers A, B, C and drivers X, Y, X again (behaviour 6.2)."""
    pool = pool_of(N1, N2)
    pool.use(N1)  # S1: customer A and driver X share N1
    pool.use(N1)  # S2: customer B and driver Y share N1

    driver_x = choose(pool, BOB, held={N1})
    customer_c = choose(pool, CAROL, held=())

    assert driver_x == N2
    assert customer_c in {N1, N2}


def test_a_single_number_cannot_pair_the_same_people_twice() -> None:
    """The second live session of one pair has no number (behaviour 6.2)."""
    assert refusal_of(pool_of(N1), ALICE, held={N1}) is Code.NO_UNUSED_PROXY


def test_an_empty_pool_is_its_own_error() -> None:
    """80205."""
    assert refusal_of(Pool(), ALICE) is Code.NO_PROXIES_FOR_SERVICE


@pytest.mark.parametrize(
    ("mode", "capabilities", "code"),
    [
        (Mode.VOICE_ONLY, Capability.SMS, Code.NO_VOICE_PROXY),
        (Mode.VOICE_ONLY, Capability.VOICE_INBOUND, Code.NO_VOICE_PROXY),
        (Mode.MESSAGE_ONLY, Capability.VOICE, Code.NO_MESSAGE_PROXY),
        (Mode.MESSAGE_ONLY, Capability.SMS_OUTBOUND, Code.NO_MESSAGE_PROXY),
        (Mode.VOICE_AND_MESSAGE, Capability.SMS, Code.NO_VOICE_PROXY),
        (Mode.VOICE_AND_MESSAGE, Capability.VOICE, Code.NO_MESSAGE_PROXY),
        (Mode.VOICE_AND_MESSAGE, Capability(0), Code.NO_VOICE_PROXY),
    ],
)
def test_a_mode_needs_its_capabilities_in_both_directions(mode: Mode, capabilities: Capability, code: Code) -> None:
    """80201 names missing voice, 80202 missing SMS; the same for a number chosen by the application."""
    only = number(N1, capabilities=capabilities)

    assert refusal_of(Pool([only]), ALICE, mode=mode) is code
    problem = capability_problem(only, mode)
    assert problem is not None
    assert problem.code is code
    assert N1 not in problem.message


def test_voice_and_sms_on_different_numbers_do_not_make_one() -> None:
    """A participant has one proxy number for both."""
    pool = Pool([number(N1, capabilities=Capability.VOICE), number(N2, capabilities=Capability.SMS)])

    assert refusal_of(pool, ALICE) is Code.NO_VOICE_PROXY
    assert choose(pool, ALICE, mode=Mode.VOICE_ONLY) == N1
    assert choose(pool, ALICE, mode=Mode.MESSAGE_ONLY) == N2


def test_a_country_whose_numbers_lack_a_capability_is_a_capability_error() -> None:
    """The cure is to set Mode, not to buy elsewhere (behaviour 6.3 step 2)."""
    pool = Pool([number(N1), number("+81312345678", country="JP", capabilities=Capability.VOICE)])

    assert refusal_of(pool, JAPANESE) is Code.NO_MESSAGE_PROXY
    assert choose(pool, JAPANESE, mode=Mode.VOICE_ONLY) == "+81312345678"


def test_a_fitting_number_has_no_capability_problem() -> None:
    """MMS is nobody's need."""
    assert (
        capability_problem(number(N1, capabilities=Capability.VOICE | Capability.SMS), Mode.VOICE_AND_MESSAGE) is None
    )


def test_a_short_code_serves_messages_only() -> None:
    """Never chosen for a mode that includes voice, whatever its record says (behaviour 3.3)."""
    pool = Pool([number("894546")])

    assert choose(pool, ALICE, mode=Mode.MESSAGE_ONLY) == "894546"
    assert refusal_of(pool, ALICE, mode=Mode.VOICE_ONLY) is Code.NO_VOICE_PROXY
    assert refusal_of(pool, ALICE) is Code.NO_VOICE_PROXY


def test_a_number_of_another_country_does_not_serve() -> None:
    """A Japanese participant and a US pool: 80203 (behaviour 21.6)."""
    assert refusal_of(pool_of(N1), JAPANESE) is Code.NO_PROXY_FOR_COUNTRY


def test_who_has_no_country_gets_no_number() -> None:
    """A channel id names no country."""
    assert refusal_of(pool_of(N1), "messenger:12345678", mode=Mode.MESSAGE_ONLY) is Code.NO_PROXY_FOR_COUNTRY


def test_island_states_get_us_numbers_and_guernsey_british_ones() -> None:
    """The exceptions of behaviour 6.5."""
    pool = Pool([number(N1), number("+442079460018", country="GB")])

    assert choose(pool, ANTIGUAN) == N1
    assert choose(pool, GUERNSEYMAN) == "+442079460018"


def test_us_and_canada_are_separate_until_joined() -> None:
    """Behaviour 18: separate countries, switchable."""
    canadian = "+14165551234"

    assert refusal_of(pool_of(N1), canadian) is Code.NO_PROXY_FOR_COUNTRY
    assert choose(pool_of(N1), canadian, joins_us_and_canada=True) == N1


def test_the_area_code_is_a_hard_requirement() -> None:
    """Only 972 serves 972; none: 80206."""
    pool = pool_of(N3, N1)

    assert choose(pool, ALICE, geo=GeoMatchLevel.AREA_CODE) == N1
    assert refusal_of(pool, BOB, geo=GeoMatchLevel.AREA_CODE) is Code.NO_AVAILABLE_PROXY


@pytest.mark.parametrize("geo", [GeoMatchLevel.OVERLAY, GeoMatchLevel.EXTENDED_AREA_CODE, GeoMatchLevel.RADIUS])
def test_an_overlay_serves_the_same_territory(geo: GeoMatchLevel) -> None:
    """214 and 972 are both Dallas; 415 is San Francisco."""
    pool = pool_of(N3, N1)

    assert choose(pool, BOB, geo=geo) == N1
    assert refusal_of(pool_of(N3), BOB, geo=geo) is Code.NO_AVAILABLE_PROXY


def test_radius_reaches_neighbouring_territories_only() -> None:
    """Fort Worth (817) is near Dallas, not in it."""
    pool = pool_of("+18175550001")

    assert choose(pool, BOB, geo=GeoMatchLevel.RADIUS) == "+18175550001"
    assert refusal_of(pool, BOB, geo=GeoMatchLevel.OVERLAY) is Code.NO_AVAILABLE_PROXY


def test_finer_levels_mean_nothing_outside_plus_one() -> None:
    """`GeoMatchLevel` is for NANP identifiers (behaviour 6.3 step 4)."""
    pool = Pool([number("+442079460018", country="GB")])

    assert choose(pool, GUERNSEYMAN, geo=GeoMatchLevel.AREA_CODE) == "+442079460018"


def test_a_reserved_number_is_never_selected() -> None:
    """Only reserved ones left: 80207; freed, it serves."""
    pool = Pool([number(N1, is_reserved=True)])

    assert refusal_of(pool, ALICE) is Code.NO_UNRESERVED_PROXY
    pool.replace(number(N1, is_reserved=False))
    assert choose(pool, ALICE) == N1
    pool.replace(number(N1, is_reserved=True))
    assert refusal_of(pool, ALICE) is Code.NO_UNRESERVED_PROXY


def test_prefer_sticky_returns_to_the_number_of_last_time() -> None:
    """Most recent first; a busy one too."""
    pool = pool_of(N1, N2, N3)
    for _ in range(3):
        pool.use(N2)

    assert choose(pool, ALICE, history={N3: 1.0, N2: 2.0}) == N2
    assert choose(pool, ALICE, history={N3: 1.0, N2: 2.0}, held={N2}) == N3


def test_a_sticky_number_must_still_fit() -> None:
    """Reserved, gone or of the wrong kind, it is passed over."""
    pool = Pool([number(N1), number(N2, is_reserved=True)])

    assert choose(pool, ALICE, history={N2: 3.0, "+19725559999": 2.0}) == N1
    assert choose(pool_of(N1, N3), ALICE, geo=GeoMatchLevel.AREA_CODE, history={N3: 1.0}) == N1


def test_avoid_sticky_gives_a_number_never_had_then_the_one_had_longest_ago() -> None:
    """Soft: it never fails (behaviour 6.3 step 7)."""
    pool = pool_of(N1, N2)
    pool.use(N2)
    avoid = NumberSelectionBehavior.AVOID_STICKY

    assert choose(pool, ALICE, behavior=avoid, history={N1: 5.0}) == N2
    assert choose(pool, ALICE, behavior=avoid, history={N1: 5.0, N2: 1.0}) == N2
    assert choose(pool, ALICE, behavior=avoid, history={N1: 5.0, N2: 1.0}, held={N2}) == N1
    assert refusal_of(pool, ALICE, behavior=avoid, history={N1: 5.0, N2: 1.0}, held={N1, N2}) is Code.NO_UNUSED_PROXY


def test_the_least_used_number_comes_first() -> None:
    """Idle numbers before busy ones; equals by `choose` (behaviour 6.3 step 8)."""
    pool = pool_of(N1, N2, N3)
    pool.use(N1)

    assert {choose(pool, ALICE, choose=first), choose(pool, ALICE, choose=last)} == {N2, N3}
    pool.use(N2)
    pool.use(N3)
    pool.release(N1)
    assert choose(pool, ALICE, choose=last) == N1


def test_use_is_counted_for_reserved_numbers_and_kept_through_changes() -> None:
    """Reserving does not disturb the sessions (behaviour 3.2)."""
    pool = pool_of(N1, N2)
    pool.use(N1)
    pool.replace(number(N1, is_reserved=True))
    pool.use(N1)
    pool.replace(number(N1))

    assert pool.in_use(N1) == 2
    assert choose(pool, ALICE) == N2
    assert pool.in_use("+19990000000") == 0


def test_a_use_that_was_not_counted_cannot_be_released() -> None:
    """Our bug, not the caller's."""
    with pytest.raises(ValueError, match="XXXX"):
        pool_of(N1).release(N1)


def test_numbers_are_found_by_address_and_sid_until_removed() -> None:
    """Both keys lead to one record."""
    pool = pool_of(N1, N2)
    record = pool.get(N1)
    assert record is not None

    assert pool.get_by_sid(record.sid) == record
    assert {entry.address for entry in pool} == {N1, N2}
    pool.remove(record.sid)
    assert pool.get(N1) is None
    assert pool.get_by_sid(record.sid) is None
    assert len(pool) == 1
    assert choose(pool, ALICE) == N2


@pytest.mark.parametrize(("is_reserved", "most"), [(False, 500), (True, 5_000)])
def test_a_pool_warns_at_85_percent_and_ends_at_its_limit(is_reserved: bool, most: int) -> None:  # noqa: FBT001 - pytest passes by keyword
    """500 unreserved, 5,000 reserved, each on its own (behaviour 5, 21.17)."""
    mark = most * 85 // 100
    pool = Pool(number(f"+1972{index:07}", is_reserved=is_reserved) for index in range(mark - 2))

    assert not pool.check_room(is_reserved=is_reserved)
    pool.add(number("+19729999999", is_reserved=is_reserved))
    assert pool.check_room(is_reserved=is_reserved)
    assert pool.check_room(is_reserved=is_reserved, adding=most - mark + 1)
    assert not pool.check_room(is_reserved=not is_reserved)
    with pytest.raises(ApiError) as refusal:
        pool.check_room(is_reserved=is_reserved, adding=most - mark + 2)
    assert refusal.value.code is Code.POOL_FULL


def test_reserving_makes_room_among_the_unreserved() -> None:
    """Each entry counts on one side."""
    pool = Pool(number(f"+1972{index:07}") for index in range(500))
    with pytest.raises(ApiError):
        pool.check_room(is_reserved=False)

    pool.replace(number("+19720000000", is_reserved=True))

    assert pool.check_room(is_reserved=False)


ADDRESSES = [N1, N2, N3, "+12125550004", "+12145550005", "+442079460018", "+441481960194", "894546"]
PEOPLE = [ALICE, BOB, CAROL, GUERNSEYMAN, JAPANESE, ANTIGUAN]
CAPABILITIES = [Capability.ALL, Capability.VOICE, Capability.SMS, Capability.VOICE_INBOUND]

entries = st.builds(
    lambda address, capabilities, is_reserved: number(
        address,
        country="GB" if address.startswith("+44") else "US",
        capabilities=capabilities,
        is_reserved=is_reserved,
    ),
    st.sampled_from(ADDRESSES),
    st.sampled_from(CAPABILITIES),
    st.booleans(),
)
pools = st.lists(entries, max_size=8, unique_by=lambda entry: entry.address)
uses = st.dictionaries(st.sampled_from(ADDRESSES), st.integers(0, 4))


def fits(entry: ProxyNumber, identifier: Address, *, mode: Mode, is_same_area: bool) -> bool:
    """Say in the plainest way whether a number may be given."""
    needs = {Mode.VOICE_ONLY: 3, Mode.MESSAGE_ONLY: 12, Mode.VOICE_AND_MESSAGE: 15}[mode]
    has = entry.capabilities & ~(0 if entry.address.startswith("+") else Capability.VOICE)
    country = "GB" if identifier.startswith("+44") else "JP" if identifier.startswith("+81") else "US"
    is_local = not is_same_area or country != "US" or entry.address[:5] == identifier[:5]
    return not entry.is_reserved and has & needs == needs and entry.iso_country == country and is_local


@given(
    numbers=pools,
    used=uses,
    identifier=st.sampled_from(PEOPLE),
    mode=st.sampled_from(Mode),
    is_same_area=st.booleans(),
    behavior=st.sampled_from(NumberSelectionBehavior),
    held=st.sets(st.sampled_from(ADDRESSES)),
    history=st.dictionaries(st.sampled_from(ADDRESSES), st.floats(0, 9)),
    seed=st.integers(0, 100),
)
def test_selection_agrees_with_a_walk_of_the_pool(
    *,
    numbers: list[ProxyNumber],
    used: dict[Address, int],
    identifier: Address,
    mode: Mode,
    is_same_area: bool,
    behavior: NumberSelectionBehavior,
    held: set[Address],
    history: dict[Address, float],
    seed: int,
) -> None:
    """Never reserved, conflicting, incapable or foreign; sticky as asked; least used first; refused only if none."""
    pool = Pool(numbers)
    for entry in numbers:
        for _ in range(used.get(entry.address, 0)):
            pool.use(entry.address)
    geo = GeoMatchLevel.AREA_CODE if is_same_area else GeoMatchLevel.COUNTRY
    free = {
        entry.address: used.get(entry.address, 0)
        for entry in numbers
        if entry.address not in held and fits(entry, identifier, mode=mode, is_same_area=is_same_area)
    }
    had = {address: when for address, when in history.items() if address in free}
    new = {address: count for address, count in free.items() if address not in history}

    wishes = {"held": held, "history": history, "choose": lambda count: seed % count}
    if not free:
        refusal_of(pool, identifier, mode=mode, geo=geo, behavior=behavior, **wishes)
        return
    chosen = choose(pool, identifier, mode=mode, geo=geo, behavior=behavior, **wishes)  # type: ignore[arg-type]

    if behavior is NumberSelectionBehavior.PREFER_STICKY and had:
        assert had.get(chosen) == max(had.values())
    elif behavior is NumberSelectionBehavior.AVOID_STICKY and not new:
        assert had[chosen] == min(had.values())
    else:
        candidates = new if behavior is NumberSelectionBehavior.AVOID_STICKY else free
        assert candidates.get(chosen) == min(candidates.values())


@given(st.lists(st.tuples(st.sampled_from(["use", "release", "reserve", "free", "remove", "add"]), st.integers(0, 7))))
def test_any_history_of_the_pool_leaves_the_order_right(steps: list[tuple[str, int]]) -> None:
    """After every step the least used unreserved number is chosen, whatever `choose` returns."""
    pool = pool_of(*ADDRESSES[:3])
    for step, index in steps:
        _apply(pool, step, number(ADDRESSES[index % 5]))

        open_numbers = {entry.address: pool.in_use(entry.address) for entry in pool if not entry.is_reserved}
        used = sum(count > 0 for count in open_numbers.values())
        assert pool.state() == PoolState(len(open_numbers) - used, used, len(pool) - len(open_numbers))
        if open_numbers:
            for by in (first, last):
                assert open_numbers[choose(pool, ALICE, choose=by)] == min(open_numbers.values())
        elif len(pool):
            assert refusal_of(pool, ALICE) is Code.NO_UNRESERVED_PROXY


def test_a_pool_is_saturated_when_somebody_has_all_that_is_given_freely() -> None:
    """Reserved numbers do not count; an empty pool is no ratio."""
    assert PoolState(free=3, in_use=1, reserved=9, most_held=1).saturation == 0.25
    assert PoolState(free=0, in_use=2, reserved=9, most_held=2).saturation == 1.0
    assert PoolState(free=0, in_use=0, reserved=9, most_held=2).saturation == 0.0


def test_a_pool_is_full_by_the_nearer_of_its_two_limits() -> None:
    """500 unreserved numbers, 5,000 reserved ones."""
    assert PoolState(free=100, in_use=25, reserved=1000).fill == 0.25
    assert PoolState(free=100, in_use=25, reserved=5000).fill == 1.0


def _apply(pool: Pool, step: str, record: ProxyNumber) -> None:
    is_present = pool.get(record.address) is not None
    match step:
        case "add" if not is_present:
            pool.add(record)
        case "use" if is_present:
            pool.use(record.address)
        case "release" if pool.in_use(record.address):
            pool.release(record.address)
        case "reserve" | "free" if is_present:
            pool.replace(msgspec.structs.replace(record, is_reserved=step == "reserve"))
        case "remove" if is_present:
            pool.remove(record.sid)
        case _:
            pass


@given(
    uses=st.lists(st.sampled_from([N1, N2, N3]), max_size=20),
    before=st.lists(st.sampled_from([N1, N2, N3]), max_size=5),
)
def test_uses_counted_together_are_those_counted_one_by_one(uses: list[Address], before: list[Address]) -> None:
    """Whatever was in use before; who is chosen next is the same too."""
    together, one_by_one = pool_of(N1, N2, N3), pool_of(N1, N2, N3)
    for address in before:
        together.use(address)
        one_by_one.use(address)

    together.use_all(Counter(uses))
    for address in uses:
        one_by_one.use(address)

    assert [together.in_use(one) for one in (N1, N2, N3)] == [one_by_one.in_use(one) for one in (N1, N2, N3)]
    assert together.state() == one_by_one.state()
    for pool in (together, one_by_one):
        least = min(pool.in_use(one) for one in (N1, N2, N3))
        assert pool.in_use(choose(pool, ALICE)) == least
