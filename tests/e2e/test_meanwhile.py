"""What happens to the world while a hook is being asked: redeliveries, closes, deletions, kill -9, too many at once."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.e2e.application import GATE, OUTSIDE, TOLD, Application, codes, eventually, settled
from tests.e2e.carrier import DROPPED, REJECTED, Heard, resource_sid
from tests.e2e.live import LiveServer, on_both_runtimes
from tests.e2e.tenant import Pairing, Service, Tenant, new_tenant, person
from tests.outbound.receiver import Reply

StartServer = Callable[..., LiveServer]
Keep = Callable[[Tenant], Tenant]

FLAGS = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8")
PUBLIC = "http://maskline.example"


class Waiting:
    """Calls and messages that wait for a hook that hangs."""

    def __init__(self, tenant: Tenant, application: Application, threads: ThreadPoolExecutor) -> None:
        """Let them arrive in threads."""
        self.tenant = tenant
        self.application = application
        self._threads = threads

    def arrives(self, kind: str, sender: str, number: str, *, sid: str | None = None) -> Future[Heard]:
        """Let one arrive."""
        arrive = self.tenant.carrier.call if kind == "call" else self.tenant.carrier.message
        return self._threads.submit(arrive, sender, number, sid=sid)

    def asked(self, path: str, count: int = 1) -> None:
        """Wait until the hook has been asked so often."""
        assert self.application.receiver.waits_for(lambda: len(self.application.asked(path)) >= count)

    def release(self) -> None:
        """Let the hook answer."""
        self.application.receiver.release()


@pytest.fixture
def waiting(tenant: Tenant, application: Application) -> Iterator[Waiting]:
    """Return what lets events arrive whose hooks hang until they are released."""
    application.answers(GATE, Reply(hangs=True))
    wanted = json.dumps({"participantIdentifier": person()}).encode()
    application.answers(OUTSIDE, Reply(hangs=True, headers=("Content-Type: application/json",), body=wanted))
    with ThreadPoolExecutor(8) as threads, released(application):
        yield Waiting(tenant, application, threads)


@contextmanager
def released(application: Application) -> Iterator[None]:
    """Let nothing hang for ever, whatever becomes of the test."""
    try:
        yield
    finally:
        application.receiver.release()


def refused(kind: str) -> tuple[str, ...]:
    """Return the verbs of a refusal."""
    return REJECTED if kind == "call" else DROPPED


@pytest.mark.parametrize("kind", ["call", "message"])
def test_a_redelivery_waits_beside_the_event(tenant: Tenant, waiting: Waiting, kind: str) -> None:
    """In session and out of it: one question each, the same bytes for all (design rule 6)."""
    service = tenant.service(numbers=2, **waiting.application.hooks)
    pairing, stranger = service.pairing(), person()
    first, second = resource_sid("XX"), resource_sid("XX")

    gated = [waiting.arrives(kind, pairing.first.identifier, pairing.first.proxy, sid=first) for _ in range(3)]
    outside = [waiting.arrives(kind, stranger, pairing.first.proxy, sid=second) for _ in range(3)]
    waiting.asked(GATE)
    waiting.asked(OUTSIDE)
    waiting.release()

    assert len({one.result().content for one in gated}) == 1
    assert len({one.result().content for one in outside}) == 1
    assert gated[0].result().reached == (pairing.second.identifier, pairing.second.proxy)
    assert outside[0].result().reached is not None
    assert settled(tenant)
    assert len(waiting.application.asked(OUTSIDE)) == 1
    assert len(waiting.application.asked(GATE)) == 2  # the event in session, and the stranger's in the new one
    assert len(waiting.application.asked(TOLD)) == 2


CHANGES: dict[str, Callable[[Tenant, Service, Pairing], object]] = {
    "the session is closed": lambda tenant, _, pairing: tenant.update(pairing.path, Status="closed"),
    "the session is deleted": lambda tenant, _, pairing: tenant.delete(pairing.path),
    "the caller is removed": lambda tenant, _, pairing: tenant.delete(
        f"{pairing.path}/Participants/{pairing.first.sid}"
    ),
    "the partner is removed": lambda tenant, _, pairing: tenant.delete(
        f"{pairing.path}/Participants/{pairing.second.sid}"
    ),
    "the service is deleted": lambda tenant, service, _: tenant.delete(service.path),
}


@pytest.mark.parametrize("kind", ["call", "message"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_who_no_longer_meets_is_not_routed(
    tenant: Tenant, waiting: Waiting, *, change: Callable[[Tenant, Service, Pairing], object], kind: str
) -> None:
    """After a close is answered nothing routes, also what the gate let pass (design rule 2)."""
    service = tenant.service(numbers=2, **waiting.application.hooks)
    pairing = service.pairing()
    answer = waiting.arrives(kind, pairing.first.identifier, pairing.first.proxy)
    waiting.asked(GATE)

    change(tenant, service, pairing)
    waiting.release()

    assert answer.result().verbs == refused(kind)
    assert settled(tenant)
    assert waiting.application.asked(TOLD) == []


@pytest.mark.parametrize("kind", ["call", "message"])
@pytest.mark.parametrize("change", ["the service is deleted", "the number leaves"])
def test_a_session_is_not_made_where_there_is_no_number_any_more(
    tenant: Tenant, waiting: Waiting, *, change: str, kind: str
) -> None:
    """What the hook asks for comes too late: refused, with an event, and nothing is left behind."""
    service = tenant.service(numbers=2, **waiting.application.hooks)
    number = service.numbers()[service.pool[0]]
    answer = waiting.arrives(kind, person(), service.pool[0])
    waiting.asked(OUTSIDE)

    tenant.delete(
        service.path if change == "the service is deleted" else f"{service.path}/PhoneNumbers/{number['sid']}"
    )
    waiting.release()

    assert answer.result().verbs == refused(kind)
    assert len(codes(tenant, 1)) == 1
    assert waiting.application.asked(GATE) == []
    if change == "the number leaves":
        assert tenant.get(f"{service.path}/Sessions")["sessions"] == []


def test_a_stranger_who_was_given_a_session_meanwhile_uses_it(tenant: Tenant, waiting: Waiting) -> None:
    """The answer that asks for another one makes none."""
    service = tenant.service(numbers=2, **waiting.application.hooks)
    stranger, partner = person(), person()
    answer = waiting.arrives("message", stranger, service.pool[0])
    waiting.asked(OUTSIDE)

    path = f"{service.path}/Sessions/{service.session()['sid']}"
    service.join(path, stranger, ProxyIdentifier=service.pool[0])
    service.join(path, partner)
    waiting.release()

    assert answer.result().twiml.to == partner
    assert len(tenant.get(f"{service.path}/Sessions")["sessions"]) == 1


@on_both_runtimes
@pytest.mark.parametrize("kind", ["call", "message"])
def test_kill_9_while_a_gate_is_asked_leaves_one_interaction(
    start_server: StartServer, keep: Keep, application: Application, kind: str
) -> None:
    """The platform sends the event again after the restart: asked again, routed, told, and recorded once."""
    tenant = keep(new_tenant(start_server(*FLAGS, public_url=PUBLIC)))
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    sid = resource_sid("XX")
    application.answers(GATE, Reply(hangs=True), Reply())
    with ThreadPoolExecutor(1) as threads, released(application):
        first = Waiting(tenant, application, threads)
        answer = first.arrives(kind, pairing.first.identifier, pairing.first.proxy, sid=sid)
        first.asked(GATE)
        tenant.server.crash()
        assert answer.exception() is not None

    tenant = keep(tenant.moved(start_server(*FLAGS, public_url=PUBLIC)))
    arrive = tenant.carrier.call if kind == "call" else tenant.carrier.message
    again = arrive(pairing.first.identifier, pairing.first.proxy, sid=sid)

    assert settled(tenant)
    (interaction,) = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    assert again.reached == (pairing.second.identifier, pairing.second.proxy)
    assert len(application.asked(GATE)) == 2
    assert [form["interactionSid"] for form in application.told(1)] == [interaction["sid"]]


def test_too_many_that_wait_are_told_to_come_again(
    start_server: StartServer, keep: Keep, application: Application
) -> None:
    """503 with Retry-After beyond an account's half; who needs no hook passes; when there is room they come in."""
    tenant = keep(new_tenant(start_server(*FLAGS, "--most-waiting-events", "6")))
    gated, free = tenant.service(numbers=2, **application.hooks).pairing(), tenant.service(numbers=2).pairing()
    application.answers(GATE, Reply(hangs=True))
    with ThreadPoolExecutor(3) as threads, released(application):
        full = Waiting(tenant, application, threads)
        answers = [full.arrives("message", gated.first.identifier, gated.first.proxy) for _ in range(3)]
        full.asked(GATE, 3)
        sid = resource_sid("SM")
        turned_away = tenant.carrier.message(gated.first.identifier, gated.first.proxy, sid=sid)
        passed = tenant.carrier.message(free.first.identifier, free.first.proxy)
        full.release()
        assert {answer.result().verbs for answer in answers} == {("Message",)}

    assert (turned_away.status, passed.verbs) == (503, ("Message",))
    again = tenant.carrier.message(gated.first.identifier, gated.first.proxy, sid=sid)
    assert again.verbs == ("Message",)
    assert eventually(lambda: len(tenant.get(f"{gated.path}/Interactions")["interactions"]) == 4)
