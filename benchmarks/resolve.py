"""Resolve in process: event bytes to decision bytes, beside a dict look-up between the same decode and encode.

One by one as events are decided, and in frames as the feed answers questions from cached routes.
"""

import random
import time
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from benchmarks.engines import NUMBERS, person, proxy_number
from benchmarks.report import Figure, Scale, Section, median
from engine.channels.feed.cached_answers import AnswerLayout, answer_frame
from engine.channels.feed.events import MAX_EVENTS
from engine.channels.feed.frames import layout_of
from engine.core.model.records import Kind, Mode
from engine.core.model.sids import SidKind
from engine.core.routing.decide import NumberRules, decide
from engine.core.routing.route_cache import ANY_ACCOUNT, IS_COMPILED, RouteCache, put_route
from engine.core.routing.traffic import Decision, InboundEvent
from engine.core.sessions.bindings import ActiveSession, Bindings, Endpoint
from engine.core.sessions.expiry import NEVER
from engine.runtime import OrderedIdFactory

BINDINGS = 100_000
EVENTS = 100_000
DEPTH = 64
WANTS = ("outcome", "to", "caller_id")

_decoder = msgspec.msgpack.Decoder(InboundEvent)
_encoder = msgspec.msgpack.Encoder()


def bindings_of_numbers() -> dict[str, Bindings]:
    """Return numbers with `BINDINGS` active pairs in all."""
    numbers = {proxy_number(index): Bindings() for index in range(NUMBERS)}
    id_factory = OrderedIdFactory()
    for index in range(BINDINGS // 2):
        endpoints = tuple(_endpoint(id_factory(SidKind.PARTICIPANT), 2 * index + side) for side in (0, 1))
        session = ActiveSession(
            id_factory(SidKind.SESSION),
            "KS" + "0" * 32,
            "AC" + "0" * 32,
            Mode.VOICE_AND_MESSAGE,
            endpoints,
            idle_since=0.0,
        )
        for endpoint in endpoints:
            numbers[endpoint.proxy].bind(endpoint.identifier, session)
    return numbers


def _endpoint(sid: str, index: int) -> Endpoint:
    return Endpoint(sid, person(index), proxy_number(index % NUMBERS))


def events(*, are_strangers: bool) -> list[bytes]:
    """Return calls as bytes, in random order."""
    chosen = random.Random(7)  # noqa: S311 - a repeatable load
    frames = []
    for number in range(EVENTS):
        index = chosen.randrange(BINDINGS)
        sender = person(index + (4 * BINDINGS if are_strangers else 0))
        event = InboundEvent(Kind.VOICE, sender, proxy_number(index % NUMBERS), f"CA{number:032x}")
        frames.append(_encoder.encode(event))
    return frames


def ours(numbers: dict[str, Bindings], frames: list[bytes]) -> None:
    """Decode, find the number, decide, encode."""
    decode, encode = _decoder.decode, _encoder.encode
    rules, id_factory, now = NumberRules(), OrderedIdFactory(), 1.0
    for frame in frames:
        event = decode(frame)
        encode(decide(numbers[event.proxy], event, rules=rules, now=now, id_factory=id_factory).decision)


def peer(answers: dict[tuple[str, str], Decision], refusal: Decision, frames: list[bytes]) -> None:
    """Decode, look up, encode."""
    decode, encode = _decoder.decode, _encoder.encode
    for frame in frames:
        event = decode(frame)
        encode(answers.get((event.sender, event.proxy), refusal))


def frames_of(*, are_strangers: bool) -> list[bytes]:
    """Return frames of questions, in random order."""
    chosen = random.Random(7)  # noqa: S311 - a repeatable load
    frames = []
    for _ in range(EVENTS // DEPTH):
        some = [chosen.randrange(BINDINGS) for _ in range(DEPTH)]
        far = 4 * BINDINGS if are_strangers else 0
        asked = [("resolve", "call", person(index + far), proxy_number(index % NUMBERS)) for index in some]
        frames.append(_encoder.encode(asked))
    return frames


def routes_of(numbers: dict[str, Bindings]) -> RouteCache:
    """Return cached routes of all bindings."""
    index = RouteCache().at(1.0)
    for address, bindings in numbers.items():
        table = index.open(address, "AC" + "0" * 32)
        assert table is not None
        for identifier, session in bindings.sessions():
            put_route(table, identifier, *_reached(identifier, session), NEVER)
    return index


def _reached(identifier: str, session: ActiveSession) -> tuple[str, str]:
    """Return the partner, and the number that the partner sees."""
    if session.first == identifier:
        return session.second, session.second_proxy
    return session.first, session.first_proxy


def ours_in_frames(index: RouteCache, layout: AnswerLayout, frames: list[bytes]) -> None:
    """Answer frames."""
    for frame in frames:
        answers = answer_frame(frame, index, ANY_ACCOUNT, layout, MAX_EVENTS)
        assert answers is not None
        assert not answers.missing


def peer_in_frames(answers: Mapping[tuple[str, str], tuple[str, ...]], frames: list[bytes]) -> None:
    """Decode, look up, encode."""
    decode, encode, find = msgspec.msgpack.Decoder().decode, _encoder.encode, answers.get
    refusal = ("refused", "", "")
    for frame in frames:
        encode([find((sender, proxy), refusal) for _, _, sender, proxy in decode(frame)])


def _in_frames(numbers: dict[str, Bindings], scale: Scale) -> list[Figure]:
    index, layout = routes_of(numbers), layout_of(WANTS)
    assert layout is not None
    answers = {
        (identifier, address): ("routed", *_reached(identifier, session))
        for address, bindings in numbers.items()
        for identifier, session in bindings.sessions()
    }
    figures = []
    for what, are_strangers in (("in session", False), ("stranger", True)):
        frames = frames_of(are_strangers=are_strangers)
        times = [
            (
                _seconds(partial(ours_in_frames, index, layout, frames)),
                _seconds(partial(peer_in_frames, answers, frames)),
            )
            for _ in range(scale.rounds)
        ]
        events = len(frames) * DEPTH
        figures.append(
            Figure(
                what=f"{DEPTH} questions a frame, {what}",
                value=median([events / mine for mine, _ in times]),
                unit="events/s",
                peer="dict look-up, same bytes",
                ratio=median([theirs / mine for mine, theirs in times]),
                note=f"from cached routes, {'compiled' if IS_COMPILED else 'interpreted'}; {BINDINGS:,} bindings",
            )
        )
    return figures


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(scale: Scale) -> Section:
    """Measure."""
    numbers = bindings_of_numbers()
    rules, id_factory = NumberRules(), OrderedIdFactory()
    answers: dict[tuple[str, str], Decision] = {}
    for address, bindings in numbers.items():
        for identifier, _ in bindings.sessions():
            event = InboundEvent(Kind.VOICE, identifier, address, "CA")
            answers[identifier, address] = decide(bindings, event, rules=rules, now=1.0, id_factory=id_factory).decision
    stranger = InboundEvent(Kind.VOICE, "+1", proxy_number(0), "CA")
    refusal = decide(numbers[proxy_number(0)], stranger, rules=rules, now=1.0, id_factory=id_factory).decision
    figures = []
    for what, are_strangers in (("in session", False), ("stranger", True)):
        frames = events(are_strangers=are_strangers)
        times = [
            (_seconds(lambda f=frames: ours(numbers, f)), _seconds(lambda f=frames: peer(answers, refusal, f)))  # type: ignore[misc]
            for _ in range(scale.rounds)
        ]
        own = median([mine for mine, _ in times])
        ratio = median([theirs / mine for mine, theirs in times])
        note = f"{BINDINGS:,} bindings, {NUMBERS} numbers, msgpack in and out, no disk, no network"
        figures += [
            Figure(
                what=f"resolve, {what}",
                value=EVENTS / own,
                unit="events/s",
                peer="dict look-up, same bytes",
                ratio=ratio,
                note=note,
            ),
            Figure(what=f"resolve, {what}", value=own / EVENTS * 1e9, unit="ns/event", note=note),
        ]
    return Section("resolve in process", (*figures, *_in_frames(numbers, scale)))
