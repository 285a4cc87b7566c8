"""Who may join a session, and which proxy number each gets (behaviour 3.5, 6.2, 7)."""

from collections.abc import Callable, Iterable, Mapping

import pytest

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import (
    Address,
    Capability,
    Mode,
    NumberSelectionBehavior,
    Participant,
    ProxyNumber,
    Service,
)
from engine.core.model.requests import ParticipantRequest
from engine.core.pools.allocation import (
    NumberChoice,
    Surroundings,
    admit,
    choose_number,
    conflicts,
    guess_mode,
    not_in_service,
)
from engine.core.pools.binding_index import BindingIndex
from engine.core.pools.pool import Pool
from engine.core.sessions.modes import MODES

ALICE, BOB, CAROL, DAVE = "+12125552001", "+12125552002", "+12125552003", "+12125552004"
JAPANESE = "+819012345678"
N1, N2, N3 = "+16465550001", "+16465550002", "+16465550003"
CHAT = "CH" + "1" * 32


def number(address: Address, *, is_reserved: bool = False, capabilities: Capability = Capability.ALL) -> ProxyNumber:
    return ProxyNumber(
        sid=sid_of(address),
        account_sid="AC" + "1" * 32,
        address=address,
        iso_country="US",
        capabilities=capabilities,
        friendly_name=address,
        date_created=0.0,
        date_updated=0.0,
        is_reserved=is_reserved,
    )


def sid_of(address: Address) -> str:
    return "PN" + address.removeprefix("+").zfill(32)


def around(
    *numbers: ProxyNumber,
    bindings: BindingIndex | None = None,
    owned: Iterable[str] = (),
    history: Mapping[Address, float] | None = None,
    behavior: NumberSelectionBehavior = NumberSelectionBehavior.PREFER_STICKY,
    chat_instance_sid: str | None = None,
    choose: Callable[[int], int] = lambda _count: 0,
) -> Surroundings:
    owned = set(owned)
    return Surroundings(
        service=Service(
            sid="KS" + "1" * 32,
            account_sid="AC" + "1" * 32,
            unique_name="rides",
            number_selection_behavior=behavior,
            chat_instance_sid=chat_instance_sid,
            date_created=0.0,
            date_updated=0.0,
        ),
        pool=Pool(numbers or (number(N1), number(N2))),
        bindings=bindings or BindingIndex(),
        owns=owned.__contains__,
        histories={ALICE: history or {}},
        choose=choose,
    )


def held(*pairs: tuple[Address, Address]) -> BindingIndex:
    bindings = BindingIndex()
    for identifier, proxy in pairs:
        bindings.add(identifier, proxy)
    return bindings


def present(identifier: Address, *, date_deleted: float | None = None) -> Participant:
    return Participant(
        sid="KP" + identifier.removeprefix("+").zfill(32),
        session_sid="KC" + "1" * 32,
        service_sid="KS" + "1" * 32,
        account_sid="AC" + "1" * 32,
        identifier=identifier,
        proxy_identifier=N1,
        proxy_identifier_sid=sid_of(N1),
        date_created=0.0,
        date_updated=0.0,
        date_deleted=date_deleted,
    )


def joining(*identifiers: str) -> tuple[ParticipantRequest, ...]:
    return tuple(ParticipantRequest(identifier=identifier) for identifier in identifiers)


def chosen(
    request: ParticipantRequest,
    surroundings: Surroundings,
    *,
    mode: Mode = Mode.VOICE_AND_MESSAGE,
    is_strict: bool = True,
) -> NumberChoice:
    return choose_number(request, request.identifier, mode=mode, is_strict=is_strict, around=surroundings)


def refusal(act: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        act()
    return caught.value


# -- admission -------------------------------------------------------------------------------------------------------


def test_two_strangers_are_admitted_in_their_order() -> None:
    """Identifiers come back in canonical form."""
    assert admit(joining(" +1 (212) 555-2001 ", BOB), mode=Mode.VOICE_ONLY, around=around()) == (ALICE, BOB)


@pytest.mark.parametrize(
    ("here", "coming", "code"),
    [
        ((), (ALICE, BOB, CAROL), Code.TOO_MANY_PARTICIPANTS),
        ((present(ALICE), present(BOB)), (CAROL,), Code.TOO_MANY_PARTICIPANTS),
        ((present(ALICE), present(BOB)), (ALICE,), Code.TOO_MANY_PARTICIPANTS),
        ((present(ALICE),), (ALICE,), Code.PARTICIPANT_ALREADY_IN_SESSION),
        ((), (ALICE, ALICE), Code.PARTICIPANT_ALREADY_IN_SESSION),
        ((), (ALICE, "+1 212 555 2001"), Code.PARTICIPANT_ALREADY_IN_SESSION),
        ((), ("+525512345678", "+5215512345678"), Code.PARTICIPANT_ALREADY_IN_SESSION),
        ((present(ALICE, date_deleted=1.0), present(BOB)), (ALICE,), Code.DUPLICATE_ENTRY),
        ((), ("+15551234567",), Code.IDENTIFIER_INVALID),
        ((), ("nobody",), Code.IDENTIFIER_INVALID),
        ((), ("",), Code.IDENTIFIER_INVALID),
        ((), (N1,), Code.IDENTIFIER_INVALID),
    ],
)
def test_who_may_not_join(here: tuple[Participant, ...], coming: tuple[str, ...], code: Code) -> None:
    """Third, twice, removed before, not a reachable number, a proxy number of the service: each its code."""
    problem = refusal(lambda: admit(joining(*coming), present=here, mode=Mode.VOICE_AND_MESSAGE, around=around()))

    assert problem.code is code


def test_a_removed_participant_leaves_room_for_another() -> None:
    """Only live rows count."""
    here = (present(ALICE, date_deleted=1.0), present(BOB))

    assert admit(joining(CAROL), present=here, mode=Mode.VOICE_ONLY, around=around()) == (CAROL,)


@pytest.mark.parametrize("identifier", ["whatsapp:+12125552001", "messenger:12345", CHAT])
@pytest.mark.parametrize("mode", [Mode.VOICE_ONLY, Mode.VOICE_AND_MESSAGE])
def test_channels_carry_messages_only(identifier: str, mode: Mode) -> None:
    """80616 in any mode with voice."""
    problem = refusal(lambda: admit(joining(identifier), mode=mode, around=around()))

    assert problem.code is Code.IDENTIFIER_TYPE_UNSUPPORTED


@pytest.mark.parametrize(
    ("request_", "chat_instance_sid", "code"),
    [
        (ParticipantRequest(identifier="whatsapp:" + ALICE), None, Code.UNMANAGED_IDENTIFIER_NOT_FOUND),
        (
            ParticipantRequest(identifier="whatsapp:" + ALICE, proxy_identifier_sid=sid_of(N1)),
            None,
            Code.UNMANAGED_IDENTIFIER_SID_NOT_FOUND,
        ),
        (ParticipantRequest(identifier=CHAT), None, Code.CHAT_SERVICE_NOT_FOUND),
        (ParticipantRequest(identifier=CHAT), "IS" + "1" * 32, Code.CHAT_INTEGRATION),
    ],
)
def test_channels_that_are_not_connected_are_refused(
    request_: ParticipantRequest, chat_instance_sid: str | None, code: Code
) -> None:
    """80304, 80305, 80306, 80618."""
    surroundings = around(chat_instance_sid=chat_instance_sid)

    assert refusal(lambda: admit((request_,), mode=Mode.MESSAGE_ONLY, around=surroundings)).code is code


# -- choosing --------------------------------------------------------------------------------------------------------


def test_the_worked_example_of_the_documentation() -> None:
    """Three live sessions over two numbers: the driver of two sessions holds both."""
    bindings = BindingIndex()
    surroundings = around(bindings=bindings)
    given: list[list[Address]] = []

    for pair in ((ALICE, DAVE), (BOB, "+12125552009"), (CAROL, DAVE)):
        numbers = [chosen(ParticipantRequest(identifier=person), surroundings).number.address for person in pair]
        given.append(numbers)
        for person, proxy in zip(pair, numbers, strict=True):
            bindings.add(person, proxy)

    assert given[2][1] != given[0][1]
    assert {proxy for numbers in given for proxy in numbers} <= {N1, N2}


def test_one_number_cannot_pair_the_same_person_twice() -> None:
    """A pool of one: 80208 while the first session lives."""
    surroundings = around(number(N1), bindings=held((ALICE, N1)))

    problem = refusal(lambda: chosen(ParticipantRequest(identifier=ALICE), surroundings))

    assert problem.code is Code.NO_UNUSED_PROXY
    assert ALICE not in problem.message


@pytest.mark.parametrize("is_strict", [True, False])
def test_automatic_selection_never_doubles_a_binding(is_strict: bool) -> None:  # noqa: FBT001 - a column
    """Permissive mode, too, prefers a free number, and refuses when there is none."""
    half = around(bindings=held((ALICE, N1)))
    full = around(bindings=held((ALICE, N1), (ALICE, N2)))

    assert chosen(ParticipantRequest(identifier=ALICE), half, is_strict=is_strict).number.address == N2
    problem = refusal(lambda: chosen(ParticipantRequest(identifier=ALICE), full, is_strict=is_strict))

    assert problem.code is Code.NO_UNUSED_PROXY


def test_stickiness_follows_the_services_setting() -> None:
    """The number of an earlier session is preferred, or avoided."""
    sticky = around(history={N2: 5.0})
    unsticky = around(history={N1: 5.0}, behavior=NumberSelectionBehavior.AVOID_STICKY)

    assert chosen(ParticipantRequest(identifier=ALICE), sticky).number.address == N2
    assert chosen(ParticipantRequest(identifier=ALICE), unsticky).number.address == N2


# -- explicit numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        ParticipantRequest(identifier=ALICE, proxy_identifier=N2),
        ParticipantRequest(identifier=ALICE, proxy_identifier="+1 (646) 555-0002"),
        ParticipantRequest(identifier=ALICE, proxy_identifier_sid=sid_of(N2)),
        ParticipantRequest(identifier=ALICE, proxy_identifier=N2, proxy_identifier_sid=sid_of(N2)),
    ],
    ids=["address", "spelt", "sid", "both"],
)
def test_a_number_may_be_asked_for(asked: ParticipantRequest) -> None:
    """By address, by SID, by both when they agree."""
    assert chosen(asked, around()) == NumberChoice(number(N2))


def test_an_explicit_number_skips_the_country() -> None:
    """The documented way to pair across countries."""
    by_itself = refusal(lambda: chosen(ParticipantRequest(identifier=JAPANESE), around()))
    asked = chosen(ParticipantRequest(identifier=JAPANESE, proxy_identifier=N1), around())

    assert by_itself.code is Code.NO_PROXY_FOR_COUNTRY
    assert asked.number.address == N1


def test_a_reserved_number_may_be_asked_for() -> None:
    """Manual assignment is what reserving is for; selection leaves it alone."""
    surroundings = around(number(N1, is_reserved=True))

    by_itself = refusal(lambda: chosen(ParticipantRequest(identifier=ALICE), surroundings))
    asked = chosen(ParticipantRequest(identifier=ALICE, proxy_identifier=N1), surroundings)

    assert by_itself.code is Code.NO_UNRESERVED_PROXY
    assert asked.number.address == N1


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (ParticipantRequest(identifier=ALICE, proxy_identifier=N3), Code.PROXY_IDENTIFIER_NOT_IN_SERVICE),
        (ParticipantRequest(identifier=ALICE, proxy_identifier_sid=sid_of(N3)), Code.PROXY_IDENTIFIER_NOT_IN_SERVICE),
        (ParticipantRequest(identifier=ALICE, proxy_identifier=BOB), Code.PROXY_IDENTIFIER_NOT_OWNED),
        (ParticipantRequest(identifier=ALICE, proxy_identifier_sid=sid_of(BOB)), Code.PROXY_IDENTIFIER_NOT_OWNED),
        (ParticipantRequest(identifier=ALICE, proxy_identifier="whatsapp:+1"), Code.UNMANAGED_IDENTIFIER_NOT_FOUND),
        (ParticipantRequest(identifier=ALICE, proxy_identifier="12"), Code.NUMBER_INVALID),
        (ParticipantRequest(identifier=ALICE, proxy_identifier_sid="PN12"), Code.NUMBER_SID_INVALID),
        (
            ParticipantRequest(identifier=ALICE, proxy_identifier=N1, proxy_identifier_sid=sid_of(N2)),
            Code.IDENTIFIER_PAIR_INVALID,
        ),
    ],
)
def test_a_number_that_cannot_be_had(asked: ParticipantRequest, code: Code) -> None:
    """Elsewhere, not ours, not managed, malformed, contradictory: each its code; no whole number in the message."""
    problem = refusal(lambda: chosen(asked, around(owned=(N3, sid_of(N3)))))

    assert problem.code is code
    assert BOB not in problem.message


@pytest.mark.parametrize(
    ("mode", "capabilities", "code"),
    [
        (Mode.VOICE_ONLY, Capability.SMS, Code.NO_VOICE_PROXY),
        (Mode.MESSAGE_ONLY, Capability.VOICE, Code.NO_MESSAGE_PROXY),
        (Mode.VOICE_AND_MESSAGE, Capability.VOICE, Code.NO_MESSAGE_PROXY),
        (Mode.VOICE_AND_MESSAGE, Capability.SMS, Code.NO_VOICE_PROXY),
    ],
)
def test_an_explicit_number_must_be_able(mode: Mode, capabilities: Capability, code: Code) -> None:
    """80201 or 80202, as when it is chosen for the caller."""
    surroundings = around(number(N1, capabilities=capabilities))

    problem = refusal(
        lambda: chosen(ParticipantRequest(identifier=ALICE, proxy_identifier=N1), surroundings, mode=mode)
    )

    assert problem.code is code


def test_a_pair_in_use_is_refused_in_strict_mode() -> None:
    """80604; another person may have the number."""
    surroundings = around(bindings=held((ALICE, N1)))

    problem = refusal(lambda: chosen(ParticipantRequest(identifier=ALICE, proxy_identifier=N1), surroundings))

    assert problem.code is Code.PROXY_IDENTIFIER_IN_USE
    assert not chosen(ParticipantRequest(identifier=BOB, proxy_identifier=N1), surroundings).is_conflict


def test_a_pair_in_use_is_a_conflict_in_permissive_mode() -> None:
    """Allowed, and told as 80802."""
    surroundings = around(bindings=held((ALICE, N1)))

    asked = chosen(ParticipantRequest(identifier=ALICE, proxy_identifier=N1), surroundings, is_strict=False)

    assert asked.is_conflict
    assert asked.number.address == N1


def test_refusals_mask_what_they_name() -> None:
    """Neither identifier nor number is written whole; a SID is."""
    taken = refusal(lambda: conflicts(ALICE, N1, held={N1}, is_strict=True))

    assert ALICE not in taken.message
    assert N1 not in taken.message
    assert N1 not in not_in_service(N1).message
    assert sid_of(N1) in not_in_service(sid_of(N1)).message


@pytest.mark.parametrize("can", [Capability.ALL, Capability.VOICE, Capability.SMS])
@pytest.mark.parametrize("identifier", [ALICE, "whatsapp:+12125552001"])
@pytest.mark.parametrize("is_call", [True, False])
def test_a_guessed_mode_lets_the_event_at_hand_pass(can: Capability, identifier: str, is_call: bool) -> None:  # noqa: FBT001 - a column
    guessed = guess_mode(number(N1, capabilities=can), identifier, is_call=is_call)

    assert (MODES[guessed].call if is_call else MODES[guessed].message) is None


@pytest.mark.parametrize(
    ("can", "identifier", "of_a_call", "of_a_message"),
    [
        (Capability.ALL, ALICE, Mode.VOICE_AND_MESSAGE, Mode.VOICE_AND_MESSAGE),
        (Capability.ALL, "whatsapp:+12125552001", Mode.VOICE_AND_MESSAGE, Mode.MESSAGE_ONLY),
        (Capability.VOICE, ALICE, Mode.VOICE_ONLY, Mode.MESSAGE_ONLY),
        (Capability.SMS, ALICE, Mode.VOICE_ONLY, Mode.MESSAGE_ONLY),
    ],
)
def test_a_guessed_mode_is_the_widest_that_number_and_channel_allow(
    can: Capability, identifier: str, of_a_call: Mode, of_a_message: Mode
) -> None:
    of = number(N1, capabilities=can)

    guessed = [guess_mode(of, identifier, is_call=is_call) for is_call in (True, False)]

    assert guessed == [of_a_call, of_a_message]
