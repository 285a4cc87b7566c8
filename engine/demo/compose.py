"""Composes the recorded traffic: `python -m engine.demo.compose` writes `traffic.ndjson` anew, always the same bytes.

What must become of each webhook is worked out here from the scene alone, never by asking the engine.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

import msgspec

from engine.core.ports.observing import Rejection
from engine.core.routing.traffic import Reason, ReportOutcome
from engine.demo import scene, texts
from engine.demo.lane import Lane
from engine.demo.scene import ARGENTINE_ACCOUNT, PLAIN_ACCOUNT, DemoSession, Person
from engine.demo.script import Answered, Refused, Routed, Signature, TurnedAway, Webhook

TRAFFIC = Path(__file__).with_name("traffic.ndjson")
"""The recorded file."""

_MOBILE_DIGITS = {"+52": "1", "+54": "9"}


def compose() -> list[Webhook]:
    """Compose all lanes and lay their webhooks alternately, as they would arrive."""
    lanes = [
        *(_conversation(session, PLAIN_ACCOUNT, texts.PLAIN) for session in scene.RIDES),
        *(_conversation(session, PLAIN_ACCOUNT, texts.UNICODE) for session in scene.DATES),
        *(_conversation(session, ARGENTINE_ACCOUNT, texts.SPANISH) for session in (*scene.MEXICAN, *scene.ARGENTINE)),
        _pictures(),
        _opt_out(),
        _strangers(),
        _wrong_modes(),
        _without_partner(),
        *_after_the_end(),
        _bad_requests(),
        _gate(),
        *_first_calls(),
        *_out_of_session(),
    ]
    rows = zip_longest(*(lane.webhooks for lane in lanes))
    return [webhook for webhook in chain.from_iterable(rows) if webhook is not None]


def encode(webhooks: Iterable[Webhook]) -> bytes:
    """Write one webhook a line."""
    return b"".join(msgspec.json.encode(webhook) + b"\n" for webhook in webhooks)


def recorded(file: Path = TRAFFIC) -> list[Webhook]:
    """Read a recorded file."""
    return [msgspec.json.decode(line, type=Webhook) for line in file.read_bytes().splitlines()]


def _conversation(session: DemoSession, account: str, bodies: tuple[str, ...]) -> Lane:
    """Both people write and call; one call is answered, one is missed, two webhooks come twice."""
    lane = Lane(session.name, account=account)
    first, second = session.people
    start = sum(map(ord, session.name))
    sent = [
        _text(lane, sender, partner, bodies[(start + index) % len(bodies)])
        for index, (sender, partner) in enumerate(((first, second), (second, first)) * 3)
    ]
    for status in ("sent", "delivered"):
        lane.leg(sent[0], status, ReportOutcome.RECORDED)
    lane.leg(sent[0], "read", ReportOutcome.REPEATED)
    lane.again(sent[1])
    answered = _call(lane, first, second)
    for status in ("initiated", "ringing", "in-progress", "completed"):
        lane.leg(answered, status, ReportOutcome.RECORDED)
    lane.again(answered)
    missed = _call(lane, second, first)
    for status in ("ringing", "no-answer"):
        lane.leg(missed, status, ReportOutcome.RECORDED)
    lane.leg(missed, "completed", ReportOutcome.NOT_OPEN)
    _text(lane, second, first, texts.LONG if start % 3 == 0 else bodies[start % len(bodies)])
    return lane


def _pictures() -> Lane:
    lane = Lane("pictures", account=PLAIN_ACCOUNT)
    for index, session in enumerate((*scene.DATES, *scene.RIDES[:5])):
        sender, partner = session.people
        _text(lane, sender, partner, "" if index % 2 else texts.UNICODE[index], media=1 + index % 3)
    return lane


def _opt_out() -> Lane:
    lane = Lane("opt-out", account=PLAIN_ACCOUNT)
    for index, word in enumerate(texts.DROPPED):
        sender = scene.RIDES[index % len(scene.RIDES)].people[index % 2]
        stopped = Refused(Reason.STOP_WORD)
        lane.text(sender.number, sender.proxy, word, expect=stopped, story=f"{sender.name} opts out")
    sender = scene.RIDES[0].people[0]
    empty = Refused(Reason.EMPTY_MESSAGE)
    lane.text(sender.number, sender.proxy, " ", expect=empty, story=f"{sender.name} sends an empty message")
    for index, word in enumerate(texts.FORWARDED):
        sender, partner = scene.RIDES[index].people
        _text(lane, sender, partner, word)
    return lane


def _strangers() -> Lane:
    """People nobody knows, and people who dial another pair's number."""
    lane, refused = Lane("strangers", account=PLAIN_ACCOUNT), Refused(Reason.NO_SESSION)
    for index, proxy in enumerate((*scene.RIDE_POOL, *scene.DATE_POOL) * 2):
        stranger = f"+192555501{10 + index}"
        lane.call(stranger, proxy, expect=refused, story="a stranger calls")
        lane.text(stranger, proxy, "Who is this?", expect=refused, story="a stranger writes")
    lane.call("anonymous", scene.RIDE_POOL[0], expect=refused, story="a withheld number calls")
    for session in scene.RIDES[:8]:
        rider = session.people[0]
        other = scene.RIDE_POOL[(scene.RIDE_POOL.index(rider.proxy) + 1) % len(scene.RIDE_POOL)]
        lane.call(rider.number, other, expect=refused, story=f"{rider.name} dials another pair's number")
    return lane


def _wrong_modes() -> Lane:
    lane = Lane("modes", account=PLAIN_ACCOUNT)
    for sender, partner in _both_ways(scene.VOICE_ONLY) * 4:
        _call(lane, sender, partner)
        story = f"{sender.name} writes in a voice-only session"
        refused = Refused(Reason.MESSAGE_TO_VOICE_ONLY)
        lane.text(sender.number, sender.proxy, "Can I text you?", expect=refused, story=story)
    for sender, partner in _both_ways(scene.MESSAGE_ONLY) * 4:
        _text(lane, sender, partner, "Text is fine")
        story = f"{sender.name} calls in a message-only session"
        lane.call(sender.number, sender.proxy, expect=Refused(Reason.CALL_TO_MESSAGE_ONLY), story=story)
    return lane


def _without_partner() -> Lane:
    lane, (guest,) = Lane(scene.WAITING.name, account=PLAIN_ACCOUNT), scene.WAITING.people
    alone, story = Refused(Reason.NO_PARTNER), "the partner has not joined yet"
    for _ in range(3):
        lane.call(guest.number, guest.proxy, expect=alone, story=story)
        lane.text(guest.number, guest.proxy, "Hello?", expect=alone, story=story)
    return lane


def _after_the_end() -> Iterator[Lane]:
    """One session was closed by the application, the other is left to expire."""
    for session, reason in ((scene.CLOSED, Reason.NO_SESSION), (scene.EXPIRED, Reason.SESSION_EXPIRED)):
        lane, refused = Lane(session.name, account=PLAIN_ACCOUNT), Refused(reason)
        after = session.name if session.ttl_seconds else None
        for person in session.people * 2:
            story = f"{person.name} comes after the end"
            lane.call(person.number, person.proxy, expect=refused, story=story, after=after)
            lane.text(person.number, person.proxy, "I forgot my umbrella", expect=refused, story=story, after=after)
        yield lane


def _bad_requests() -> Lane:
    """What the door refuses before anybody decides."""
    lane = Lane("door", account=PLAIN_ACCOUNT)
    rider, driver = scene.RIDES[0].people
    forged, unknown = TurnedAway(Rejection.BAD_SIGNATURE), TurnedAway(Rejection.UNKNOWN_NUMBER)
    for index in range(4):
        _call(lane, rider, driver)
        lane.spoil(expect=forged, story="a forged call", signature=Signature.WRONG)
        _text(lane, rider, driver, f"You won {index} million")
        lane.spoil(expect=forged, story="an unsigned message", signature=Signature.MISSING)
        lane.call(rider.number, scene.NOT_IN_ANY_POOL, expect=unknown, story="a call to a number that is in no pool")
    for field in ("To", "CallSid"):
        _call(lane, rider, driver)
        lane.spoil(expect=TurnedAway(Rejection.MALFORMED), story=f"a call without {field}", without=field)
    return lane


def _gate() -> Lane:
    """A session whose messages and calls the application is asked about first."""
    lane = Lane(scene.GATED.name, account=PLAIN_ACCOUNT)
    for sender, partner in _both_ways(scene.GATED) * 2:
        sent = _text(lane, sender, partner, "Is the blue one still there?")
        lane.leg(sent, "delivered", ReportOutcome.RECORDED)
        blocked, story = Refused(Reason.INTERCEPTED), f"{sender.name} asks for a real number"
        lane.text(sender.number, sender.proxy, scene.FORBIDDEN_TEXT, expect=blocked, story=story)
        lane.again(lane.webhooks[-1])
        called = _call(lane, sender, partner)
        for status in ("ringing", "completed"):
            lane.leg(called, status, ReportOutcome.RECORDED)
    return lane


def _first_calls() -> Iterator[Lane]:
    """Buyers reach the seller over one published number: the application has each session made at the first call."""
    for index, (number, sellers_proxy) in enumerate(scene.BUYERS.items()):
        lane = Lane(f"buyer-{index + 1}", account=PLAIN_ACCOUNT)
        buyer = Person(f"buyer {index + 1}", number, scene.PUBLISHED)
        seller = Person("the seller", scene.SELLER, sellers_proxy)
        if index % 2:
            _text(lane, buyer, seller, "Do you have it in green?")
        else:
            _call(lane, buyer, seller)
        lane.again(lane.webhooks[-1])
        _text(lane, seller, buyer, "We do!")
        _call(lane, buyer, seller)
        yield lane


def _out_of_session() -> Iterator[Lane]:
    """Strangers whom the application answers in its own way, and a desk with a document of its own."""
    for name, number, proxy, call, text in (
        ("closed", scene.CURIOUS_CALLER, scene.PUBLISHED, _TOLD, Answered(Reason.OUT_OF_SESSION, ("Message",))),
        ("handled", scene.HANDLED_CALLER, scene.PUBLISHED, _LEFT, _LEFT),
        ("failing", scene.UNLUCKY_CALLER, scene.PUBLISHED, _FAILED, _FAILED),
        ("impossible", scene.IMPOSSIBLE_CALLER, scene.PUBLISHED, _IMPOSSIBLE, _IMPOSSIBLE),
        ("desk", scene.CURIOUS_CALLER, scene.DESK_POOL[0], _OWN_DOCUMENT, _OWN_DOCUMENT),
    ):
        lane = Lane(f"outside-{name}", account=PLAIN_ACCOUNT)
        lane.call(number, proxy, expect=call, story=f"a stranger calls: {name}")
        lane.text(number, proxy, "Are you open?", expect=text, story=f"a stranger writes: {name}")
        lane.again(lane.webhooks[-1])
        yield lane


_TOLD = Answered(Reason.OUT_OF_SESSION, ("Say",))
_LEFT = Answered(Reason.LEFT_TO_APPLICATION)
_FAILED = Refused(Reason.OUT_OF_SESSION_FAILED)
_IMPOSSIBLE = Refused(Reason.AUTO_CREATE_FAILED)
_OWN_DOCUMENT = Answered(Reason.FALL_BACK, ("Pause",))


def _both_ways(session: DemoSession) -> tuple[tuple[Person, Person], tuple[Person, Person]]:
    first, second = session.people
    return (first, second), (second, first)


def _call(lane: Lane, sender: Person, partner: Person) -> Webhook:
    expect = Routed(to=_dialled(partner.number), caller_id=partner.proxy)
    return lane.call(
        _as_carried(lane, sender), sender.proxy, expect=expect, story=f"{sender.name} calls {partner.name}"
    )


def _text(lane: Lane, sender: Person, partner: Person, body: str, *, media: int = 0) -> Webhook:
    expect = Routed(to=partner.number, caller_id=partner.proxy)
    story = f"{sender.name} {'sends pictures' if media else 'writes'} to {partner.name}"
    return lane.text(_as_carried(lane, sender), sender.proxy, body, expect=expect, story=story, media=media)


def _as_carried(lane: Lane, sender: Person) -> str:
    """Write a sender as carriers do: Mexicans and Argentines now with, now without the mobile digit."""
    digit = _MOBILE_DIGITS.get(sender.number[:3])
    if digit is None or len(lane.webhooks) % 2:
        return sender.number
    return sender.number[:3] + digit + sender.number[3:]


def _dialled(number: str) -> str:
    """Write a number as a call dials it: with the Argentine "9"; the services are too young for the Mexican "1"."""
    return f"+549{number[3:]}" if number.startswith("+54") else number


if __name__ == "__main__":
    TRAFFIC.write_bytes(encode(compose()))
