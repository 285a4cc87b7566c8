"""The recorded traffic: it is what the script composes, and it covers what it should."""

import re
from collections import Counter

import pytest

from engine.core.numbers.e164 import parse_identifier, parse_proxy_number
from engine.core.ports.observing import Rejection
from engine.core.routing.traffic import Reason, ReportOutcome
from engine.demo.compose import TRAFFIC, compose, encode, recorded
from engine.demo.scene import SCENE, DemoService
from engine.demo.script import Answered, Door, Refused, Reported, Routed, TurnedAway

WEBHOOKS = recorded()
"""The file in the repository."""

FICTITIOUS = re.compile(
    r"\+1\d{3}55501\d\d"  # United States: 555-0100 to 555-0199
    r"|\+44207946\d{4}"  # Ofcom's numbers for drama in London
    r"|\+521?55555501\d\d"  # Mexico City, after the American pattern
    r"|\+549?11555501\d\d"  # Buenos Aires, after the American pattern
)


def test_the_file_is_what_the_script_composes() -> None:
    """`python -m engine.demo.compose` leaves the repository as it is."""
    assert TRAFFIC.read_bytes() == encode(compose())


def test_it_covers_every_ending_that_traffic_can_have() -> None:
    """But for the states of a host that is down or overrun, an operator's act, and what the door tells otherwise."""
    reasons = {one.expect.reason for one in WEBHOOKS if isinstance(one.expect, Refused | Answered)}
    turned_away = {one.expect.problem for one in WEBHOOKS if isinstance(one.expect, TurnedAway)}
    reported = {one.expect.outcome for one in WEBHOOKS if isinstance(one.expect, Reported)}

    assert reasons == set(Reason) - {
        Reason.IN_SESSION,
        Reason.ACCOUNT_DISABLED,
        Reason.NOT_IN_POOL,
        Reason.REBUILDING,
        Reason.STORE_UNAVAILABLE,
        Reason.BUSY,
    }
    assert turned_away == {Rejection.BAD_SIGNATURE, Rejection.UNKNOWN_NUMBER, Rejection.MALFORMED}
    assert reported == {ReportOutcome.RECORDED, ReportOutcome.REPEATED, ReportOutcome.NOT_OPEN}


def test_it_has_the_shapes_of_a_day() -> None:
    """Hundreds of events: calls, messages, leg reports, redeliveries, pictures, Mexico, Argentina, many scripts."""
    doors = Counter(one.door for one in WEBHOOKS)
    bodies = {one.form.get("Body", "") for one in WEBHOOKS}
    redelivered = [one for one in WEBHOOKS if one.story.endswith("(redelivered)")]

    assert doors[Door.VOICE] > 100
    assert doors[Door.MESSAGE] > 200
    assert doors[Door.STATUS] > 200
    assert len(redelivered) > 40
    assert any(one.form.get("NumMedia") == "3" for one in WEBHOOKS)
    assert any(one.form.get("From", "").startswith("+521") for one in WEBHOOKS)
    assert any(isinstance(one.expect, Routed) and one.expect.to.startswith("+549") for one in WEBHOOKS)
    assert any(ord(max(body, default="a")) > 0xFFFF for body in bodies)
    assert any("&" in body and "<" in body for body in bodies)


def test_every_number_is_fictitious() -> None:
    """Nobody real is called, and no real number stands in the repository."""
    found = set(re.findall(r"\+\d{8,15}", TRAFFIC.read_text("utf-8")))

    assert found
    assert not [number for number in found if not FICTITIOUS.fullmatch(number)]


@pytest.mark.parametrize("service", SCENE, ids=lambda service: service.name)
def test_every_number_of_the_scene_can_exist(service: DemoService) -> None:
    """The engine refuses identifiers that no numbering plan has; a scene with one could not be set up."""
    assert [parse_proxy_number(number) for number in service.pool] == list(service.pool)
    for session in service.sessions:
        for person in session.people:
            assert parse_identifier(person.number) == person.number
            assert person.proxy in service.pool


def test_a_leg_report_follows_its_call_in_the_same_lane() -> None:
    """The address to report to is known when the report is played."""
    seen: dict[str, str] = {}
    for one in WEBHOOKS:
        if one.leg_of is not None:
            assert seen[one.leg_of] == one.lane
        seen[one.id] = one.lane

    assert len(seen) == len(WEBHOOKS)
