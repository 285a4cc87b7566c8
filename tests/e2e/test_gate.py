"""The intercept hook through the live server: whom it is asked about, what each answer does."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.application import (
    GATE,
    TOLD,
    Application,
    codes,
    settled,
)
from tests.e2e.carrier import DROPPED, REJECTED, Heard
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Pairing, Tenant, new_tenant, person
from tests.outbound.receiver import Reply

REFUSED_CONNECTION = "http://127.0.0.1:1/gate"
CALL, MESSAGE = "call", "message"
PASSED_VERBS = {CALL: ("Dial",), MESSAGE: ("Message",)}
BLOCKED_VERBS = {CALL: REJECTED, MESSAGE: DROPPED}


def arrive(tenant: Tenant, kind: str, sender: str, number: str) -> Heard:
    """Let a call or message arrive."""
    carrier = tenant.carrier
    return carrier.call(sender, number) if kind == CALL else carrier.message(sender, number, "hello")


def of_first(tenant: Tenant, pairing: Pairing, kind: str) -> Heard:
    """Let the first of a pairing call or write."""
    return arrive(tenant, kind, pairing.first.identifier, pairing.first.proxy)


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize(
    ("mode", "passing"),
    [("voice-and-message", {CALL, MESSAGE}), ("voice-only", {CALL}), ("message-only", {MESSAGE})],
)
def test_a_mode_decides_which_hooks_hear_of_an_event(
    tenant: Tenant, application: Application, *, mode: str, passing: set[str], kind: str
) -> None:
    """3 modes by 2 kinds, all hooks configured: gate and callback, or none and the debugger (9, 80910, 80911)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing(Mode=mode)

    answer = of_first(tenant, pairing, kind)

    assert settled(tenant)
    asked = [request.path for request in application.receiver.received]
    if kind in passing:
        assert (answer.verbs, asked) == (PASSED_VERBS[kind], [GATE, TOLD])
    else:
        assert (answer.verbs, asked) == (BLOCKED_VERBS[kind], [])
        assert codes(tenant, 1) == [80911 if kind == CALL else 80910]


@pytest.mark.parametrize("word", ["stop", " ARRET ", "Revoke"])
def test_a_stop_word_is_told_to_nobody(tenant: Tenant, application: Application, word: str) -> None:
    """Neither of a participant nor of a stranger: only the debugger hears of it (11.2)."""
    pairing = tenant.service(**application.hooks).pairing()

    known = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, word)
    stranger = tenant.carrier.message(person(), pairing.first.proxy, word)

    assert settled(tenant)
    assert (known.verbs, stranger.verbs) == (DROPPED, DROPPED)
    assert application.receiver.received == []
    assert codes(tenant, 2) == [80901, 80901]
    assert tenant.get(f"{pairing.path}/Interactions")["interactions"] == []


@pytest.mark.parametrize("word", ["start", "YES", "Debut", "help", "INFO"])
def test_an_opt_in_word_passes_the_gate_and_is_told(tenant: Tenant, application: Application, word: str) -> None:
    """Forwarded in any case (11.2)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()

    answer = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, word)

    assert answer.twiml.body == word
    assert [form["interactionData"] for form in application.told(1)] == [
        json.dumps({"body": word}, separators=(",", ":"))
    ]
    assert len(application.asked(GATE)) == 1


@pytest.mark.parametrize("by", ["account", "service"])
def test_where_the_numbers_filter_is_respected_the_gate_judges_stop_words(
    tenant: Tenant, application: Application, by: str
) -> None:
    """ProxyRespectSmsStopFilterFlag of the account, or the service's own: the word reaches the hook (11.2)."""
    server = tenant.server
    service = tenant.service(numbers=2, **application.hooks)
    if by == "account":
        server.admin("PATCH", f"/accounts/{tenant.sid}", {"respect_sms_stop_filter": True})
    else:
        server.admin("PATCH", f"/services/{service.sid}", {"options": {"respect_sms_stop_filter": True}})
    for number in service.numbers().values():
        path = f"/2010-04-01/Accounts/{tenant.sid}/IncomingPhoneNumbers/{number['sid']}.json"
        tenant.http.post(server.address + path, data={"StopFiltering": "false"}).raise_for_status()
    pairing = service.pairing()
    application.answers(GATE, Reply(), Reply(status=403))

    forwarded = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "STOP")
    blocked = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "STOP")

    assert (forwarded.twiml.body, blocked.verbs) == ("STOP", DROPPED)
    assert len(application.asked(GATE)) == 2


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
def test_who_has_no_partner_is_told_to_nobody(tenant: Tenant, application: Application, kind: str) -> None:
    """80614 to the debugger, no webhook at all (9)."""
    service = tenant.service(**application.hooks)
    path = f"{service.path}/Sessions/{service.session()['sid']}"
    alice = service.join(path, person())

    answer = arrive(tenant, kind, alice.identifier, alice.proxy)

    assert settled(tenant)
    assert answer.verbs == BLOCKED_VERBS[kind]
    assert application.receiver.received == []
    assert codes(tenant, 1) == [80614]


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
def test_403_blocks_and_nothing_is_told(tenant: Tenant, application: Application, kind: str) -> None:
    """The interaction stays without outbound leg, the session is in progress, no callback; 80909 (9, 12.5)."""
    service = tenant.service(**application.hooks)
    pairing = service.pairing()
    application.answers(GATE, Reply(status=403, body=b"no"))

    answer = of_first(tenant, pairing, kind)

    assert settled(tenant)
    (interaction,) = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    session = tenant.get(pairing.path)
    assert answer.verbs == BLOCKED_VERBS[kind]
    assert [request.path for request in application.receiver.received] == [GATE]
    assert interaction["inbound_participant_sid"] == pairing.first.sid
    assert [value for key, value in interaction.items() if key.startswith("outbound")] == [None] * 5
    assert (session["status"], session["date_last_interaction"] is None) == ("in-progress", False)
    assert codes(tenant, 1) == [80909]


GARBAGE = {
    "500": Reply(status=500),
    "404": Reply(status=404, body=b"<html>"),
    "302": Reply(status=302, headers=("Location: http://127.0.0.1:1/elsewhere",)),
    "no HTTP": Reply(raw=b"\x00\xffgarbage\r\n\r\n"),
    "half a header": Reply(raw=b"HTTP/1.1 200"),
    "reset": Reply(resets=True),
    "401": Reply(status=401),
}


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
def test_a_gate_that_gives_no_answer_lets_pass(
    tenant: Tenant, application: Application, reply: Reply, kind: str
) -> None:
    """Fail-open, and 80908 says so; with the service's option it blocks instead, 80908 and 80909 (9, item 12)."""
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing()
    application.answers(GATE, reply)

    passed = of_first(tenant, pairing, kind)
    assert settled(tenant)
    told = len(application.asked(TOLD))
    tenant.server.admin("PATCH", f"/services/{service.sid}", {"options": {"intercept_fails_closed": True}})
    blocked = of_first(tenant, pairing, kind)

    assert settled(tenant)
    assert passed.reached == (pairing.second.identifier, pairing.second.proxy)
    assert blocked.verbs == BLOCKED_VERBS[kind]
    assert (told, len(application.asked(TOLD))) == (1, 1)
    tokens = {request.headers["i-twilio-idempotency-token"] for request in application.asked(GATE)}
    assert len(tokens) == 2  # a kept connection that is reset is asked again, with the same token
    assert codes(tenant, 3) == [80908, 80908, 80909]


PASSING = {
    "200 empty": Reply(),
    "200 garbage": Reply(headers=("Content-Type: application/json",), body=b"{]"),
    "200 of a gigabyte": Reply(is_endless=True),
    "204": Reply(status=204),
    "299": Reply(status=299, body=b"whatever"),
    "200 with a text that nobody asked for": Reply(
        headers=("Content-Type: application/json",), body=b'{"body": "something else"}'
    ),
}


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING)
def test_any_2xx_lets_pass(tenant: Tenant, application: Application, reply: Reply, kind: str) -> None:
    """Whatever it says; no event, one callback (12.3)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    application.answers(GATE, reply)

    answer = of_first(tenant, pairing, kind)

    assert settled(tenant)
    assert answer.reached == (pairing.second.identifier, pairing.second.proxy)
    assert answer.twiml.body == ("hello" if kind == MESSAGE else "")
    assert [request.path for request in application.receiver.received] == [GATE, TOLD]
    assert tenant.get("/Alerts")["alerts"] == []


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return a server whose hooks have little time."""
    flags = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--intercept-timeout-seconds", "0.3")
    server = LiveServer(tmp_path_factory.mktemp("hasty") / "data", *flags)
    yield server
    assert (server.stop(), "Traceback" in server.log) == (0, False), server.log[-4000:]


@pytest.fixture
def hurried(hasty_server: LiveServer) -> Iterator[Tenant]:
    """Return an account there."""
    tenant = new_tenant(hasty_server)
    yield tenant
    tenant.close()


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize("gate", ["hangs", "refuses connections"])
def test_a_gate_that_cannot_be_asked_in_time_lets_pass(
    hurried: Tenant, application: Application, gate: str, kind: str
) -> None:
    """Time-out and refused connection: the call or message goes on, is told, and 80908 says why (item 12)."""
    hooks = application.hooks
    if gate == "hangs":
        application.answers(GATE, Reply(hangs=True))
    else:
        hooks["InterceptCallbackUrl"] = REFUSED_CONNECTION
    pairing = hurried.service(numbers=2, **hooks).pairing()

    answer = of_first(hurried, pairing, kind)

    assert answer.reached == (pairing.second.identifier, pairing.second.proxy)
    assert len(application.told(1)) == 1
    assert codes(hurried, 1) == [80908]


def test_a_number_serves_others_while_a_gate_is_asked(tenant: Tenant, application: Application) -> None:
    """One event waits, the number's other sessions go on (design rule 5); then it goes on too."""
    service = tenant.service(numbers=1, **application.hooks)
    waiting, other = service.pairing(), service.pairing()
    application.handles(GATE, lambda request: Reply(hangs=request.form["interactionSessionSid"] == waiting.sid))

    with ThreadPoolExecutor(1) as platform:
        first = platform.submit(of_first, tenant, waiting, MESSAGE)
        assert application.receiver.waits_for(lambda: len(application.asked(GATE)) == 1)
        meanwhile = of_first(tenant, other, CALL)
        was_waiting = not first.done()
        application.receiver.release()
        answered = first.result()

    assert (was_waiting, meanwhile.verbs, answered.verbs) == (True, ("Dial",), ("Message",))
