"""The feed through the live server: routes, hooks, leg statuses, other accounts, stops and kills."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.application import GATE, Application
from tests.e2e.conftest import UNLIMITED
from tests.e2e.feed import Feed, FeedGone
from tests.e2e.live import LiveServer, on_both_runtimes
from tests.e2e.tenant import Pairing, Tenant, near_numbers, new_tenant, person, proxy_number
from tests.outbound.receiver import Received, Reply

StartServer = Callable[..., LiveServer]

CARRIER, CARRIER_TOKEN = "AC" + "c" * 32, "the carrier's token"


@pytest.fixture
def feed(tenant: Tenant) -> Iterator[Feed]:
    """Return a connection of the tenant's."""
    with Feed(tenant.server.feed, tenant.sid, tenant.token) as feed:
        yield feed


def call(pairing: Pairing, sid: str) -> list[object]:
    return ["call", pairing.first.identifier, pairing.first.proxy, sid]


def routed(pairing: Pairing) -> list[str]:
    """Return what `WANTS` says of traffic of the first to the second, without the interaction."""
    first, second = pairing.first, pairing.second
    return ["routed", "in-session", second.identifier, second.proxy, pairing.sid, first.sid, second.sid]


def without_interaction(decision: list[str]) -> list[str]:
    return decision[:5] + decision[6:]


# -- decisions -------------------------------------------------------------------------------------------------------


def test_a_frame_of_everything_is_answered_and_recorded(tenant: Tenant, feed: Feed) -> None:
    """Calls and messages leave interactions, questions none."""
    pairing = tenant.service(numbers=2).pairing()
    first, second = pairing.first, pairing.second

    called, written, asked, stranger, bad = feed.decide(
        call(pairing, "CA-1"),
        ["message", second.identifier, second.proxy, "SM-1", "on my way", ["https://m.example/1.jpg"]],
        ["resolve", "call", first.identifier, first.proxy],
        ["call", person(), first.proxy, "CA-2"],
        ["call", person(), first.proxy],
    )

    assert without_interaction(called) == without_interaction(asked) == routed(pairing)
    assert written[:4] == ["routed", "in-session", first.identifier, first.proxy]
    assert asked[5] == ""
    assert stranger[:2] == ["refused", "no-session"]
    assert bad == {"error": "missing-field", "field": "sid", "detail": "call: sid is missing"}
    recorded = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    assert {(one["sid"], one["type"], one["inbound_resource_sid"]) for one in recorded} == {
        (called[5], "voice", "CA-1"),
        (written[5], "message", "SM-1"),
    }


def test_a_redelivery_gets_the_same_answer_on_any_connection(tenant: Tenant, feed: Feed) -> None:
    """And leaves nothing new; a webhook of the same call is one too."""
    pairing = tenant.service(numbers=2).pairing()
    with Feed(tenant.server.feed, tenant.sid, tenant.token) as other:
        answers = [*feed.decide(call(pairing, "CA-1"), call(pairing, "CA-1")), *other.decide(call(pairing, "CA-1"))]

    webhook = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid="CA-1")

    assert answers[0] == answers[1] == answers[2]
    assert answers[0][5].encode() in webhook.content
    assert len(tenant.get(f"{pairing.path}/Interactions")["interactions"]) == 1


def test_leg_statuses_end_the_legs_they_name(tenant: Tenant, feed: Feed) -> None:
    """The outbound one by the interaction, the inbound one by its SID."""
    pairing = tenant.service(numbers=2).pairing()
    proxy = pairing.first.proxy
    (decision,) = feed.decide(call(pairing, "CA-in"))
    interaction = decision[5]

    said = feed.decide(
        ["status", "call", "outbound", "CA-out", "completed", proxy, interaction, 61],
        ["status", "call", "inbound", "CA-in", "completed", proxy, None, 63],
        ["status", "call", "inbound", "CA-in", "ringing", proxy],
        ["status", "call", "inbound", "CA-in", "busy", proxy],
        ["status", "call", "inbound", "CA-unknown", "completed", proxy],
    )

    assert said == ["recorded", "recorded", "repeated", "not-open", "not-found"]
    read = tenant.get(f"{pairing.path}/Interactions/{interaction}")
    assert (read["inbound_resource_status"], read["outbound_resource_status"]) == ("completed", "completed")
    assert read["outbound_resource_sid"] == "CA-out"


def test_a_key_reaches_the_numbers_of_its_own_account_only(tenant: Tenant, neighbour: Tenant, feed: Feed) -> None:
    """All else is as unknown as a number that nobody has; nothing is recorded and no leg is touched."""
    pairing = neighbour.service(numbers=2).pairing()
    nobodys = proxy_number()
    with Feed(neighbour.server.feed, neighbour.sid, neighbour.token) as theirs:
        (decision,) = theirs.decide(call(pairing, "CA-1"))
        status = ["status", "call", "outbound", "CA-out", "completed", pairing.first.proxy, decision[5]]

        foreign = feed.decide(call(pairing, "CA-2"), ["call", pairing.first.identifier, nobodys, "CA-3"])
        asked = feed.decide(["resolve", "call", *call(pairing, "")[1:3]], ["resolve", "call", person(), nobodys])
        reported = feed.decide(status)

        assert foreign[0] == foreign[1] == asked[0] == asked[1]
        assert foreign[0][:2] == ["unknown-number", "not-in-pool"]
        assert (reported, theirs.decide(status)) == (["not-found"], ["recorded"])
    assert len(neighbour.get(f"{pairing.path}/Interactions")["interactions"]) == 1


def test_a_carrier_of_the_operators_reaches_all_accounts(start_server: StartServer, tmp_path: Path) -> None:
    """With the token of its settings; it may be told what is sent by us."""
    config = tmp_path / "maskline.toml"
    config.write_text(
        f'[carriers.main]\nkind = "messages-api"\nurl = "http://127.0.0.1:1"\n'
        f'account_sid = "{CARRIER}"\nauth_token = "{CARRIER_TOKEN}"\n[carrier_routes]\n"*" = "main"\n'
    )
    server = start_server(*UNLIMITED, "--config", str(config))
    tenants = [new_tenant(server) for _ in range(2)]
    pairings = [tenant.service(numbers=2).pairing() for tenant in tenants]

    with Feed(server.feed, CARRIER, CARRIER_TOKEN, wants=["to", "sent_by_us"]) as feed:
        answers = feed.decide(
            *(call(pairing, f"CA-{index}") for index, pairing in enumerate(pairings)),
            ["message", pairings[0].first.identifier, pairings[0].first.proxy, "SM-1", "hi"],
        )

    assert answers == [
        [pairings[0].second.identifier, False],
        [pairings[1].second.identifier, False],
        [pairings[0].second.identifier, True],
    ]
    for tenant in tenants:
        tenant.close()


def test_a_revoked_key_is_shown_the_door(tenant: Tenant) -> None:
    """An API key is a way in until it is revoked; the connection ends soon after."""
    made = tenant.server.admin("POST", f"/accounts/{tenant.sid}/keys", {"friendly_name": "feed"})
    with Feed(tenant.server.feed, made["key"]["sid"], made["secret"]) as feed:
        assert feed.welcome[2]["account"] == tenant.sid

        tenant.server.admin("DELETE", f"/keys/{made['key']['sid']}")

        kind, _, problem = feed.read()
        assert (kind, problem["error"], feed.is_closed()) == ("error", "bad-credentials", True)


# -- hooks -----------------------------------------------------------------------------------------------------------


def test_a_gate_makes_only_its_own_event_wait(tenant: Tenant, feed: Feed, application: Application) -> None:
    """Its decision comes later, by its index; all others are answered meanwhile."""
    may_answer = threading.Event()
    gated = tenant.service(pool=near_numbers(), InterceptCallbackUrl=application.url(GATE)).pairing()
    free = tenant.service(pool=near_numbers()).pairing()

    def gate(_: Received) -> Reply:
        may_answer.wait(10)
        return Reply(status=403)

    application.handles(GATE, gate)
    kind, frame, _, said = feed.ask([call(free, "CA-1"), call(gated, "CA-2"), call(free, "CA-3")])
    after = feed.decide(call(free, "CA-4"))
    may_answer.set()
    later = feed.read()

    assert (kind, frame, said[1]) == ("answers", 1, None)
    assert [without_interaction(one) for one in (said[0], said[2], *after)] == [routed(free)] * 3
    assert (later[0], later[2][0][:2], later[2][0][2][:2]) == ("later", [1, 1], ["refused", "intercepted"])


# -- what operators see -----------------------------------------------------------------------------------------------


def test_the_metrics_tell_of_the_feed(start_server: StartServer) -> None:
    """Connections, what is resolved, and what is wrong."""
    tenant = new_tenant(start_server())
    with Feed(tenant.server.feed, tenant.sid, tenant.token) as feed:
        feed.decide(["resolve", "call", person(), proxy_number()], ["resolve", "fax"])
        feed.decide(["resolve", "call", person(), proxy_number()])

        metrics = tenant.server.metrics()
    tenant.close()

    assert "\nmaskline_feed_connections 1.0" in metrics
    assert '\nmaskline_feed_problems_total{problem="bad-field"} 1.0' in metrics
    assert '\nmaskline_resolved_total{outcome="unknown-number",reason="not-in-pool"} 2.0' in metrics


# -- the route alone -------------------------------------------------------------------------------------------------


@on_both_runtimes
def test_who_asks_for_the_route_alone_hears_of_every_change(start_server: StartServer) -> None:
    """Asked twice each time, since what was found once is answered from memory: never of a route that is gone."""
    tenant = new_tenant(start_server())
    service = tenant.service(numbers=4)
    pairing = service.pairing(Ttl=3600)
    first, second = pairing.first, pairing.second
    asked: list[list[object]] = [
        ["resolve", "call", first.identifier, first.proxy],
        ["resolve", "message", second.identifier, second.proxy],
        ["resolve", "call", person(), first.proxy],
    ]
    nowhere = ["refused", "", ""]
    both = [["routed", second.identifier, second.proxy], ["routed", first.identifier, first.proxy], nowhere]
    with Feed(tenant.server.feed, tenant.sid, tenant.token, wants=["outcome", "to", "caller_id"]) as lean:

        def said() -> list[list[str]]:
            once, again = lean.decide(*asked), lean.decide(*asked)
            assert once == again
            return once

        assert said() == both
        tenant.delete(f"{pairing.path}/Participants/{second.sid}")
        assert said() == [nowhere] * 3
        third = service.join(pairing.path, person())
        assert said() == [["routed", third.identifier, third.proxy], nowhere, nowhere]
        asked[1] = ["resolve", "message", third.identifier, third.proxy]
        tenant.update(pairing.path, Status="closed")
        assert said() == [nowhere] * 3
        tenant.update(pairing.path, Status="in-progress")
        assert said() == [["routed", third.identifier, third.proxy], ["routed", first.identifier, first.proxy], nowhere]
        tenant.delete(pairing.path)
        assert said() == [nowhere] * 3
    tenant.close()


# -- the end of a server ---------------------------------------------------------------------------------------------


@on_both_runtimes
def test_a_stop_answers_what_was_taken(start_server: StartServer) -> None:
    """A route that is asked for while the server stops is answered and there afterwards, or was never taken."""
    tenant = new_tenant(start_server())
    pairing = tenant.service(numbers=2).pairing()
    with Feed(tenant.server.feed, tenant.sid, tenant.token) as feed:
        answered = storm(feed, [pairing], then=lambda: threading.Timer(0.05, tenant.server.process.terminate).start())
        assert tenant.server.process.wait(tenant.server.stop_seconds) == 0

    assert_kept(start_server(), tenant, pairing, answered)


@on_both_runtimes
@pytest.mark.parametrize("part", range(3))
def test_kill_9_loses_no_route_that_was_answered(start_server: StartServer, part: int) -> None:
    """Under a storm of frames: every answered route is on disk, and gets the same answer again."""
    dice = random.Random(part)  # noqa: S311 - a test's dice
    tenant = new_tenant(start_server())
    service = tenant.service(numbers=4)
    pairings = [service.pairing() for _ in range(3)]
    with Feed(tenant.server.feed, tenant.sid, tenant.token) as feed:
        strike = threading.Timer(dice.uniform(0.02, 0.3), tenant.server.crash)
        answered = storm(feed, pairings, then=strike.start)
        strike.join()

    server = start_server()
    for pairing in pairings:
        assert_kept(server, tenant, pairing, answered)


def storm(feed: Feed, pairings: list[Pairing], *, then: Callable[[], None]) -> dict[str, list[str]]:
    """Send frames of calls, some ahead of their answers, until the server is gone; return the decisions by SID.

    Calls `then` once, when there are a dozen frames and a routed answer of every pairing.
    """
    unanswered = {pairing.sid for pairing in pairings}
    answered: dict[str, list[str]] = {}
    waiting: list[list[str]] = []
    told: dict[int, list[str]] = {}

    def read() -> None:
        kind, *rest = feed.read()
        if kind == "answers":
            frame, _, said = rest
            told[frame] = waiting.pop(0)
            answered.update((sid, one) for sid, one in zip(told[frame], said, strict=True) if one is not None)
        else:
            assert kind == "later"
            answered.update((told[frame][index], one) for frame, index, one in rest[-1])

    with suppress(FeedGone):
        for number in count():
            sids = [f"CA-{number}-{index}" for index in range(32)]
            feed.send([call(pairings[(number + index) % len(pairings)], sid) for index, sid in enumerate(sids)])
            waiting.append(sids)
            if len(waiting) > 8:
                read()
            if unanswered and number >= 12:
                unanswered -= {one[4] for one in answered.values() if one[0] == "routed"}
                if not unanswered:
                    then()
    with suppress(FeedGone):  # what had been answered before that
        while True:
            read()
    return {sid: one for sid, one in answered.items() if one[0] == "routed"}


def batched(items: list[str], size: int) -> Iterator[list[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def assert_kept(server: LiveServer, tenant: Tenant, pairing: Pairing, answered: dict[str, list[str]]) -> None:
    """Check that every answer of a session is an interaction, and is given again."""
    mine = {sid: decision for sid, decision in answered.items() if decision[4] == pairing.sid}
    assert len(mine) > 0
    moved = tenant.moved(server)
    try:
        recorded = {one["sid"]: one for one in moved.everything(f"{pairing.path}/Interactions", "interactions")}
        for sid, decision in mine.items():
            assert recorded[decision[5]]["inbound_resource_sid"] == sid
        with Feed(server.feed, tenant.sid, tenant.token) as feed:
            for sids in batched(list(mine), 1_000):
                assert feed.decide(*(call(pairing, sid) for sid in sids)) == [mine[sid] for sid in sids]
        assert len(moved.everything(f"{pairing.path}/Interactions", "interactions")) == len(recorded)
    finally:
        moved.close()
