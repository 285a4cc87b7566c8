"""Sessions that applications make while their hook is asked: by an answer in JSON, or over REST (behaviour 13)."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.application import GATE, OUTSIDE, Application, alerts, codes, eventually, settled
from tests.e2e.carrier import DROPPED, REJECTED, Heard, call_form, message_form
from tests.e2e.live import LiveServer
from tests.e2e.load import Wire
from tests.e2e.tenant import Service, Tenant, new_tenant, person, proxy_number
from tests.outbound.receiver import Received, Reply

CALLERS, NUMBERS = 200, 150


def wanting(**keys: object) -> Reply:
    """Answer with the JSON that asks for a session."""
    return Reply(headers=("Content-Type: application/json",), body=json.dumps(keys).encode())


def published_number(service: Service) -> str:
    """Add a reserved number to a service's pool."""
    number = proxy_number()
    service.tenant.create(f"{service.path}/PhoneNumbers", PhoneNumber=number, IsReserved=True)
    return number


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["call", "message"])
async def test_200_first_contacts_at_once_to_one_published_number(
    tenant: Tenant, application: Application, kind: str
) -> None:
    """150 get a session of their own, 50 are refused when the seller's numbers run out; no number of theirs twice."""
    service = tenant.service(numbers=NUMBERS, **application.hooks)
    published, seller = published_number(service), person()
    buyers = [person() for _ in range(CALLERS)]
    application.answers(OUTSIDE, wanting(participantIdentifier=seller))
    door = "/inbound/voice" if kind == "call" else "/inbound/message"

    def form(sender: str, number: str) -> dict[str, str]:
        if kind == "call":
            return call_form(tenant.sid, sender, number)
        return message_form(tenant.sid, sender, number) | {"Body": "hello"}

    async with Wire(tenant.server, tenant) as wire:
        first = await asyncio.gather(*(wire.webhook(door, form(buyer, published)) for buyer in buyers))
        served = {buyer: answer.reached for buyer, answer in zip(buyers, first, strict=True) if answer.reached}
        shown = {buyer: number for buyer, (_, number) in served.items()}
        again = await asyncio.gather(*(wire.webhook(door, form(buyer, published)) for buyer in served))
        back = await asyncio.gather(*(wire.webhook(door, form(seller, number)) for number in shown.values()))
        sessions = await wire.everything(f"{service.path}/Sessions", "sessions")

    assert Counter(answer.reached is None for answer in first) == {False: NUMBERS, True: CALLERS - NUMBERS}
    assert {answer.verbs for answer in first if not answer.reached} == {REJECTED if kind == "call" else DROPPED}
    assert {to for to, _ in served.values()} == {seller}
    assert set(shown.values()) == set(service.pool)
    assert [answer.reached for answer in again] == list(served.values())
    assert [answer.reached for answer in back] == [(buyer, published) for buyer in served]
    assert len(sessions) == NUMBERS
    assert len(application.asked(OUTSIDE)) == CALLERS
    assert await asyncio.to_thread(settled, tenant)
    assert len({form["interactionSessionSid"] for form in application.told(3 * NUMBERS)}) == NUMBERS
    assert set(codes(tenant, 1)) == {80208}


@pytest.mark.anyio
async def test_first_messages_of_one_person_at_once_make_one_session(tenant: Tenant, application: Application) -> None:
    """Twenty texts, twenty questions, one session; all are forwarded into it."""
    service = tenant.service(numbers=5, **application.hooks)
    published, seller, buyer = published_number(service), person(), person()
    application.answers(OUTSIDE, wanting(participantIdentifier=seller))

    async with Wire(tenant.server, tenant) as wire:
        answers = await asyncio.gather(
            *(
                wire.webhook("/inbound/message", message_form(tenant.sid, buyer, published) | {"Body": str(number)})
                for number in range(20)
            )
        )

    (session,) = tenant.get(f"{service.path}/Sessions")["sessions"]
    interactions = tenant.everything(f"{service.path}/Sessions/{session['sid']}/Interactions", "interactions")
    assert len({answer.reached for answer in answers}) == 1
    assert [answer.twiml.body for answer in answers] == [str(number) for number in range(20)]
    assert len(interactions) == 20
    assert alerts(tenant) == []


def test_the_second_number_may_be_named_reserved_or_not(tenant: Tenant, application: Application) -> None:
    """participantProxyIdentifier; the other keys are taken over, unknown ones are not looked at (13.1)."""
    service = tenant.service(numbers=1, DefaultTtl=99, **application.hooks)
    published, second = published_number(service), published_number(service)
    buyer, seller = person(), person()
    application.answers(
        OUTSIDE,
        wanting(
            participantIdentifier=seller,
            participantProxyIdentifier=second,
            uniqueName="order-77",
            mode="message-only",
            dateExpiry="2099-01-01T00:00:00Z",
            autoClose=True,
        ),
    )

    answer = tenant.carrier.message(buyer, published)

    session = tenant.get(f"{service.path}/Sessions/order-77")
    assert answer.reached == (seller, second)
    assert (session["mode"], session["date_expiry"], session["ttl"]) == ("message-only", "2099-01-01T00:00:00Z", 0)


def test_a_session_made_is_gated_and_a_403_leaves_it(tenant: Tenant, application: Application) -> None:
    """Exactly as if it had been there: blocked, no callback, in progress (13.1)."""
    service = tenant.service(numbers=2, **application.hooks)
    application.answers(OUTSIDE, wanting(participantIdentifier=person(), uniqueName="order"))
    application.answers(GATE, Reply(status=403))

    answer = tenant.carrier.call(person(), service.pool[0])

    assert settled(tenant)
    assert answer.verbs == REJECTED
    assert [request.path for request in application.receiver.received] == [OUTSIDE, GATE]
    assert tenant.get(f"{service.path}/Sessions/order")["status"] == "in-progress"


@pytest.mark.parametrize("kind", ["call", "message"])
@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"participantIdentifier": "+15550100"}, 80404),
        ({"participantIdentifier": "+14155550123", "uniqueName": "taken"}, 80603),
        ({"participantIdentifier": "+442079460123"}, 80203),
        ({"participantIdentifier": "+14155550123", "participantProxyIdentifier": "+12125550100"}, 80606),
        ({"participantIdentifier": "+14155550123", "dateExpiry": "2001-01-01T00:00:00Z"}, 80701),
        ({"participantIdentifier": "itself"}, 80103),
    ],
)
def test_a_session_that_cannot_be_made_refuses_the_event(
    tenant: Tenant, application: Application, *, keys: dict[str, str], code: int, kind: str
) -> None:
    """With the rule's own code to the debugger, and nothing left behind (13.1)."""
    service = tenant.service(numbers=2, **application.hooks)
    service.pairing(UniqueName="taken")
    sender = person()
    if keys["participantIdentifier"] == "itself":
        keys = {"participantIdentifier": sender}
    application.answers(OUTSIDE, wanting(**keys))
    arrives: Callable[[str, str], Heard] = tenant.carrier.call if kind == "call" else tenant.carrier.message

    answer = arrives(sender, service.pool[0])

    assert settled(tenant)
    assert answer.verbs == (REJECTED if kind == "call" else DROPPED)
    assert codes(tenant, 1) == [code]
    assert len(tenant.get(f"{service.path}/Sessions")["sessions"]) == 1
    assert [request.path for request in application.receiver.received] == [OUTSIDE]


def test_a_handler_may_do_it_all_over_rest_and_the_text_is_sent_once(
    start_server: Callable[..., LiveServer],
    keep: Callable[[Tenant], Tenant],
    application: Application,
    tmp_path: Path,
) -> None:
    """While its hook is asked it adds the stranger, pushes their text to who waits, and answers 201 (13.2)."""
    sent, config = tmp_path / "sent.ndjson", tmp_path / "maskline.toml"
    config.write_text(f'[carriers.paper]\nkind = "file"\npath = "{sent}"\n[carrier_routes]\n"*" = "paper"\n')
    flags = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--config", str(config))
    tenant = keep(new_tenant(start_server(*flags)))
    service = tenant.service(numbers=1, **application.hooks)
    path = f"{service.path}/Sessions/{service.session(UniqueName='waiting')['sid']}"
    alice, stranger = service.join(path, person()), person()

    def handler(request: Received) -> Reply:
        form = request.form
        service.join(path, form["From"], ProxyIdentifier=form["To"])
        tenant.create(f"{path}/Participants/{alice.sid}/MessageInteractions", Body=form["Body"])
        return Reply(status=201, headers=("Content-Type: text/plain",), body=b"handled")

    application.handles(OUTSIDE, handler)
    answer = tenant.carrier.message(stranger, alice.proxy, "is it still there?")
    assert settled(tenant)
    first = [json.loads(line) for line in sent.read_text("utf-8").splitlines()]
    reply = tenant.carrier.message(alice.identifier, alice.proxy, "it is")
    assert eventually(lambda: len(sent.read_text("utf-8").splitlines()) == 2)

    assert answer.verbs == DROPPED
    assert [(one["to"], one["sender"], one["body"]) for one in first] == [
        (alice.identifier, alice.proxy, "is it still there?")
    ]
    assert reply.verbs == ()  # the carrier sends it
    last = json.loads(sent.read_text("utf-8").splitlines()[1])
    assert (last["to"], last["sender"], last["body"]) == (stranger, alice.proxy, "it is")
    assert [request.path for request in application.receiver.received if request.path == GATE] == [GATE]
    assert len(tenant.get(f"{path}/Interactions")["interactions"]) == 2
    assert application.told(2)


def test_a_session_made_while_the_hook_is_asked_is_met_at_once(tenant: Tenant, application: Application) -> None:
    """Nothing is locked: the next call of the same person reaches it before the first one is answered (13.2)."""
    service = tenant.service(numbers=2, OutOfSessionCallbackUrl=application.url(OUTSIDE))
    seller = person()
    reached: list[tuple[str, str] | None] = []

    def handler(request: Received) -> Reply:
        caller, number = request.form["From"], request.form["To"]
        path = f"{service.path}/Sessions/{service.session()['sid']}"
        service.join(path, caller, ProxyIdentifier=number)
        service.join(path, seller)
        reached.append(tenant.carrier.call(caller, number).reached)
        return Reply(headers=("Content-Type: text/xml",), body=b"<Response><Redirect>/again</Redirect></Response>")

    application.handles(OUTSIDE, handler)
    answer = tenant.carrier.call(person(), service.pool[0])

    assert answer.verbs == ("Redirect",)
    assert [to for to, _ in filter(None, reached)] == [seller]
