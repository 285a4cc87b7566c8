"""The table of modes."""

import pytest

from engine.core.model.errors import Code
from engine.core.model.records import Capability, Kind, Mode
from engine.core.routing.traffic import Reason
from engine.core.sessions.modes import MODES, ModeRules
from tests.core.pairings import ALICE, BOB, P2, arrival, bound, couple, ruled

PASSES = {
    (Mode.VOICE_AND_MESSAGE, True): True,
    (Mode.VOICE_AND_MESSAGE, False): True,
    (Mode.VOICE_ONLY, True): True,
    (Mode.VOICE_ONLY, False): False,
    (Mode.MESSAGE_ONLY, True): False,
    (Mode.MESSAGE_ONLY, False): True,
}


@pytest.mark.parametrize(("mode", "is_call"), list(PASSES))
def test_a_mode_lets_pass_what_it_names(mode: Mode, is_call: bool) -> None:  # noqa: FBT001 - a column of the table
    """Three modes by two kinds."""
    rules = MODES[mode]

    assert ((rules.call if is_call else rules.message) is None) is PASSES[mode, is_call]
    assert rules.lets_all_pass is (PASSES[mode, True] and PASSES[mode, False])


def test_every_mode_has_a_row_under_its_own_number() -> None:
    """The first three are on disk already."""
    assert set(MODES) == set(Mode)
    assert len({rules.number for rules in MODES.values()}) == len(MODES)
    assert [rules.mode for rules in sorted(MODES.values(), key=lambda rules: rules.number)][:3] == [
        Mode.VOICE_AND_MESSAGE,
        Mode.VOICE_ONLY,
        Mode.MESSAGE_ONLY,
    ]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_mode_needs_numbers_for_what_it_lets_pass(mode: Mode) -> None:
    """Voice for calls, SMS for messages."""
    rules = MODES[mode]

    assert (Capability.VOICE in rules.needs) is (rules.call is None)
    assert (Capability.SMS in rules.needs) is (rules.message is None)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_mode_may_let_the_first_participant_alone_begin(kind: Kind) -> None:
    """What the second one sends meets the refusal of the row; no mode does so yet."""
    refusal = (Reason.NO_PARTNER, Code.NO_PARTNER)
    session = couple()
    session.mode_rules = ModeRules(Mode.VOICE_AND_MESSAGE, 9, Capability.VOICE | Capability.SMS, reply=refusal)

    first, second = ruled(bound(session), arrival(kind, ALICE)), ruled(bound(session, to=P2), arrival(kind, BOB, P2))

    assert (first.decision.to, first.decision.caller_id) == (BOB, P2)
    assert (second.decision.reason, second.decision.code, second.interaction) == (*refusal, None)
    assert not session.mode_rules.lets_all_pass
