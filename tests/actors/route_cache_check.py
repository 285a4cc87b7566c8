"""Holds what a host's cached routes say against what it finds when it looks in full."""

from collections.abc import Iterable
from itertools import product

import msgspec

from actors.host.host import Host
from engine.channels.feed.cached_answers import answer_frame
from engine.channels.feed.events import MAX_EVENTS, read_resolves
from engine.channels.feed.frames import completed, layout_of, shape_of
from engine.core.model.records import Kind
from engine.core.routing.traffic import Decision, InboundEvent

WANTS = ("outcome", "reason", "to", "caller_id", "code")
SUBJECTS = {Kind.VOICE: "call", Kind.MESSAGE: "message"}


def check_cached_routes(host: Host, senders: Iterable[str], proxies: Iterable[str], *, account_sid: str | None) -> int:
    """Ask of everybody and every number of a host at once, twice; return how many had cached routes the second time.

    What has none the first time has one from then on, if it is plain: whatever happens next finds it there.
    """
    events = [
        InboundEvent(kind, sender, proxy, "", account_sid=account_sid)
        for kind, sender, proxy in product(SUBJECTS, senders, proxies)
        if host.traffic.resolve(InboundEvent(kind, sender, proxy, "")) is not None
    ]
    frame = msgspec.msgpack.encode([("resolve", SUBJECTS[event.kind], event.sender, event.proxy) for event in events])
    expected = msgspec.to_builtins([_told(host.traffic.resolve(event)) for event in events])

    counts = [0]
    for _ in range(2):
        route_cache, layout = host.traffic.route_cache(), layout_of(WANTS)
        if route_cache is None or layout is None:
            break
        answers = answer_frame(frame, route_cache, route_cache.account(account_sid), layout, MAX_EVENTS)
        assert answers is not None
        questions = read_resolves(answers.rest) if answers.missing else []
        resolved = host.traffic.resolve_all(questions, account_sid=account_sid, fills_cache=True)
        assert resolved is not None
        said = completed(answers, shape_of(WANTS).all(resolved.decisions))
        assert msgspec.msgpack.decode(said) == expected
        counts.append(len(events) - answers.missing)
    return counts[-1]


def _told(decision: Decision | None) -> list[object]:
    assert decision is not None
    return [decision.outcome, decision.reason, decision.to, decision.caller_id, decision.code]
