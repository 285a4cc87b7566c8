"""The out-of-session hook through the live server: every answer an application can give."""

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.application import (
    GATE,
    OUTSIDE,
    TOLD,
    Application,
    alerts,
    codes,
    eventually,
    serving,
    settled,
)
from tests.e2e.carrier import DROPPED, REJECTED, Heard, call_form, message_form, resource_sid
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant, person
from tests.outbound.receiver import Reply

CALL, MESSAGE = "call", "message"
DOCUMENT = "<Response><Say voice='alice'>Nobody is &lt;here&gt;, désolé</Say><Hangup/></Response>"
XML, JSON = "application/xml", "application/json"


def typed(content_type: str, body: bytes, *, status: int = 200) -> Reply:
    """Answer with a content type."""
    return Reply(status=status, headers=(f"Content-Type: {content_type}",), body=body)


def arrive(tenant: Tenant, kind: str, sender: str, number: str) -> Heard:
    """Let a call or message arrive."""
    carrier = tenant.carrier
    return carrier.call(sender, number) if kind == CALL else carrier.message(sender, number, "hello")


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/xml", "utf-8"),
        ("text/xml", "utf-8"),
        ("text/xml; charset=utf-8", "utf-8"),
        ("TEXT/XML;charset=ISO-8859-1", "cp1252"),
        ("application/xml; charset=utf-16", "utf-16"),
    ],
)
def test_twiml_is_passed_on(
    tenant: Tenant, application: Application, *, content_type: str, encoding: str, kind: str
) -> None:
    """As it was written; no interaction, no other hook, no event (13, 12.5)."""
    service = tenant.service(**application.hooks)
    application.answers(OUTSIDE, typed(content_type, DOCUMENT.encode(encoding)))

    answer = arrive(tenant, kind, person(), service.pool[0])

    assert settled(tenant)
    assert (answer.status, answer.content.decode()) == (200, f'<?xml version="1.0" encoding="UTF-8"?>{DOCUMENT}')
    assert [request.path for request in application.receiver.received] == [OUTSIDE]
    assert tenant.get(f"{service.path}/Sessions")["sessions"] == []
    assert alerts(tenant) == []


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json", "utf-8"),
        ("application/json; charset=utf-8", "utf-8"),
        ("application/json;charset=UTF-16", "utf-16"),
        ('application/json; charset="iso-8859-1"', "latin-1"),
        ("application/json; charset=klingon", "utf-8"),
    ],
)
def test_json_in_any_charset_makes_a_session(
    tenant: Tenant, application: Application, *, content_type: str, encoding: str, kind: str
) -> None:
    """Then it is as in session: gate, forwarded, callback; the sender keeps the number dialled, reserved too (13.1)."""
    service = tenant.service(numbers=2, **application.hooks)
    published = service.numbers()[service.pool[0]]
    tenant.update(f"{service.path}/PhoneNumbers/{published['sid']}", IsReserved=True)
    buyer, seller = person(), person()
    wanted = json.dumps({"participantIdentifier": seller, "uniqueName": "orden-ñ", "ttl": 1800}, ensure_ascii=False)
    application.answers(OUTSIDE, typed(content_type, wanted.encode(encoding)))

    answer = arrive(tenant, kind, buyer, service.pool[0])

    application.told(1)
    (session,) = tenant.get(f"{service.path}/Sessions")["sessions"]
    proxies = {
        endpoint.identifier: endpoint.proxy
        for endpoint in service.endpoints(f"{service.path}/Sessions/{session['sid']}")
    }
    assert answer.reached == (seller, service.pool[1])
    assert proxies == {buyer: service.pool[0], seller: service.pool[1]}
    assert (session["unique_name"], session["ttl"], session["status"]) == ("orden-ñ", 1800, "in-progress")
    assert [request.path for request in application.receiver.received] == [OUTSIDE, GATE, TOLD]
    assert alerts(tenant) == []


LEFT: dict[str, tuple[Reply, int]] = {
    "empty 200": (Reply(), 80905),
    "204": (Reply(status=204), 80905),
    "201 plain text": (typed("text/plain", b"handled", status=201), 80905),
    "XML type, empty": (typed(XML, b" "), 80905),
    "JSON without participantIdentifier": (typed(JSON, b'{"uniqueName": "x"}'), 80905),
    "JSON, a list": (typed(JSON, b"[]"), 80905),
    "JSON, broken": (typed(JSON, b"{]"), 80905),
    "JSON, a ttl that is none": (typed(JSON, b'{"participantIdentifier": "+14155550123", "ttl": -1}'), 80905),
}
FAILED: dict[str, tuple[Reply, int]] = {
    "500": (typed(XML, DOCUMENT.encode(), status=500), 80913),
    "404": (Reply(status=404), 80913),
    "403": (Reply(status=403), 80913),
    "redirect": (Reply(status=302, headers=("Location: http://127.0.0.1:1/",)), 80913),
    "XML, broken": (typed(XML, b"<Response><Say>"), 12100),
    "XML, another root": (typed(XML, b"<html/>"), 12100),
    "XML with entities": (typed(XML, b'<!DOCTYPE r [<!ENTITY a "b">]><Response><Say>&a;</Say></Response>'), 12100),
    "XML as plain text": (typed("text/plain", DOCUMENT.encode()), 12300),
    "XML of 65,537 bytes": (typed(XML, b"<Response>" + b" " * 65_516 + b"</Response>"), 11750),
    "a gigabyte": (Reply(headers=("Content-Type: text/xml",), is_endless=True), 11750),
    "no HTTP": (Reply(raw=b"\x00\xff\r\n\r\n"), 11200),
    "reset": (Reply(resets=True), 11200),
}


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize(("reply", "code"), LEFT.values(), ids=LEFT)
def test_an_answer_that_is_neither_leaves_it_to_the_application(
    tenant: Tenant, application: Application, *, reply: Reply, code: int, kind: str
) -> None:
    """Nothing more is done: an empty document (13, item 13)."""
    service = tenant.service(**application.hooks)
    application.answers(OUTSIDE, reply)

    answer = arrive(tenant, kind, person(), service.pool[0])

    assert (answer.status, answer.verbs) == (200, ())
    assert codes(tenant, 1) == [code]
    assert [request.path for request in application.receiver.received] == [OUTSIDE]


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize(("reply", "code"), FAILED.values(), ids=FAILED)
def test_an_answer_that_cannot_be_used_refuses(
    tenant: Tenant, application: Application, *, reply: Reply, code: int, kind: str
) -> None:
    """Rejected or dropped, with the event that says why; the service's own document answers where it has one (13)."""
    service = tenant.service(**application.hooks)
    application.answers(OUTSIDE, reply)
    own = "<Response><Say>Sorry</Say></Response>"

    plain = arrive(tenant, kind, person(), service.pool[0])
    tenant.server.admin("PATCH", f"/services/{service.sid}", {"options": {"no_session_twiml": own}})
    with_document = arrive(tenant, kind, person(), service.pool[0])

    assert (plain.status, plain.verbs) == (200, REJECTED if kind == CALL else DROPPED)
    assert with_document.content.decode().endswith(own)
    assert codes(tenant, 2) == [code, code]
    assert application.receiver.bytes_sent < 1 << 24
    assert tenant.get(f"{service.path}/Sessions")["sessions"] == []


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return a server whose hooks have little time."""
    flags = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--carrier-deadline-seconds", "1.5")
    server = LiveServer(tmp_path_factory.mktemp("hasty") / "data", *flags)
    yield server
    assert (server.stop(), "Traceback" in server.log) == (0, False), server.log[-4000:]


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
def test_a_hook_that_hangs_is_given_up_at_the_carriers_deadline(
    hasty_server: LiveServer, keep: Callable[[Tenant], Tenant], application: Application, kind: str
) -> None:
    """11200; a session that a late gate would decide about goes on within the same time."""
    tenant = keep(new_tenant(hasty_server))
    service = tenant.service(numbers=2, **application.hooks)
    application.answers(
        OUTSIDE, Reply(hangs=True), typed(JSON, json.dumps({"participantIdentifier": person()}).encode())
    )
    application.answers(GATE, Reply(hangs=True))

    outside = arrive(tenant, kind, person(), service.pool[0])
    gated = arrive(tenant, kind, person(), service.pool[0])

    assert outside.verbs == (REJECTED if kind == CALL else DROPPED)
    assert gated.reached is not None
    assert codes(tenant, 2) == [11200, 80908]


def test_a_refused_connection_is_told_as_such(tenant: Tenant) -> None:
    """11205, rejected."""
    service = tenant.service(OutOfSessionCallbackUrl="http://127.0.0.1:1/outside")

    answer = tenant.carrier.call(person(), service.pool[0])

    assert answer.verbs == REJECTED
    assert codes(tenant, 1) == [11205]


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
def test_the_form_is_what_the_platform_sent_and_the_service(
    tenant: Tenant, application: Application, kind: str
) -> None:
    """Every field unchanged, signed; nothing of a session where there was none (12.4)."""
    service = tenant.service(**application.hooks)
    sender, number = person(), service.pool[0]
    form = (
        call_form(tenant.sid, sender, number)
        if kind == CALL
        else message_form(tenant.sid, sender, number)
        | {"Body": "¿qué? 🎉\r\n+&=", "NumMedia": "1", "MediaUrl0": "https://m/1"}
    ) | {"FromCity": "SAN FRANCISCO", "AddOns": '{"status":"successful"}', "ToZip": ""}

    tenant.carrier.post("/inbound/voice" if kind == CALL else "/inbound/message", form)

    (request,) = application.asked(OUTSIDE)
    assert request.form == form | {"ServiceSid": service.sid}
    assert request.headers["content-type"] == "application/x-www-form-urlencoded; charset=utf-8"
    assert application.receiver.is_signed(request, tenant.token)
    assert not application.receiver.is_signed(request, "another")


LAST_KNOWN = {
    *(
        f"{side}Participant{name}"
        for side in ("inbound", "outbound")
        for name in (
            *("AccountSid", "DateCreated", "DateUpdated", "FriendlyName", "Identifier", "ProxyIdentifier"),
            *("ProxyIdentifierSid", "ServiceSid", "SessionSid", "Sid"),
        )
    ),
    *(
        f"session{name}"
        for name in (
            *("AccountSid", "ClosedReason", "DateCreated", "DateEnded", "DateUpdated", "Mode", "ServiceSid", "Sid"),
            *("Status", "UniqueName", "DateStarted", "DateLastInteraction", "DateExpiry"),
        )
    ),
    "ttl",
}


@pytest.mark.parametrize("kind", [CALL, MESSAGE])
@pytest.mark.parametrize("ending", ["closed", "expired", "removed", "deleted"])
def test_the_last_known_session_is_told(tenant: Tenant, application: Application, *, ending: str, kind: str) -> None:
    """Closed, expired or removed: both participants and the session; deleted: as a stranger (9, 12.4, item 10)."""
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing(UniqueName="ride", Ttl=1 if ending == "expired" else 0)
    alice, bob = pairing.first, pairing.second
    if ending == "closed":
        tenant.update(pairing.path, Status="closed")
    elif ending == "expired":
        assert eventually(lambda: tenant.get(pairing.path)["status"] == "closed")
    elif ending == "removed":
        tenant.delete(f"{pairing.path}/Participants/{alice.sid}")
    else:
        tenant.delete(pairing.path)
    application.answers(OUTSIDE, typed(XML, DOCUMENT.encode()))

    answer = arrive(tenant, kind, alice.identifier, alice.proxy)

    (request,) = application.asked(OUTSIDE)
    context = {name: value for name, value in request.form.items() if name in LAST_KNOWN}
    assert answer.content.decode().endswith(DOCUMENT)
    assert application.receiver.is_signed(request, tenant.token)
    if ending == "deleted":
        assert context == {}
        return
    assert context.keys() == LAST_KNOWN
    assert context["inboundParticipantIdentifier"] == alice.identifier
    assert context["inboundParticipantSid"] == alice.sid
    assert context["outboundParticipantProxyIdentifier"] == bob.proxy
    assert (context["sessionSid"], context["sessionUniqueName"]) == (pairing.sid, "ride")
    assert (context["sessionStatus"], context["sessionClosedReason"]) == {
        "closed": ("closed", "api"),
        "expired": ("closed", "ttl"),
        "removed": ("open", ""),
    }[ending]
    assert codes(tenant, 1 if ending == "expired" else 0) == ([80904] if ending == "expired" else [])


def test_a_hook_in_a_private_network_is_not_called(
    start_server: Callable[..., LiveServer], keep: Callable[[Tenant], Tenant]
) -> None:
    """Neither by address, nor by a name that resolves to one, nor by way of a redirect; own hosts are refused (8)."""
    server = start_server("--rate-limit-per-second", "0")
    tenant = keep(new_tenant(server))
    with serving() as application:
        by_name = f"http://localhost:{application.receiver.port}/outside"
        for url in (application.url(OUTSIDE), by_name):
            service = tenant.service(OutOfSessionCallbackUrl=url, InterceptCallbackUrl=url, CallbackUrl=url)
            pairing = service.pairing()
            refused = tenant.carrier.call(person(), service.pool[0])
            passed = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)
            assert (refused.verbs, passed.verbs) == (REJECTED, ("Dial",))

        # the stranger's hook, the gate, the callback: twice
        assert sorted(codes(tenant, 6)) == [11205, 11205, 80908, 80908, 80908, 80908]
        assert application.receiver.connections == 0

    for own in (server.public_url, f"{server.public_url}/v1/Services"):
        for name in ("CallbackUrl", "InterceptCallbackUrl", "OutOfSessionCallbackUrl"):
            assert tenant.refused("POST", "/Services", UniqueName="own", **{name: own}) == (400, 80701)


def test_a_redirect_into_a_private_network_is_not_followed(tenant: Tenant, application: Application) -> None:
    """A 3xx is no 2xx, wherever it points: nothing arrives there."""
    with socket.create_server(("127.0.0.1", 0)) as inside, serving() as elsewhere:
        inside.settimeout(0)
        service = tenant.service(**application.hooks)
        targets = (f"http://127.0.0.1:{inside.getsockname()[1]}/", elsewhere.url("/"), "http://169.254.169.254/latest")
        for status, target in zip((301, 307, 302), targets, strict=True):
            application.answers(OUTSIDE, Reply(status=status, headers=(f"Location: {target}",)))
            assert tenant.carrier.call(person(), service.pool[0]).verbs == REJECTED

        assert codes(tenant, 3) == [80913] * 3
        assert elsewhere.receiver.connections == 0
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_a_redelivery_while_a_hook_is_asked_is_answered_with_it(tenant: Tenant, application: Application) -> None:
    """One question, the same bytes twice, one session (design rule 6)."""
    service = tenant.service(numbers=2, **application.hooks)
    application.answers(OUTSIDE, typed(JSON, json.dumps({"participantIdentifier": person()}).encode()))
    sender, sid = person(), resource_sid("CA")

    first = tenant.carrier.call(sender, service.pool[0], sid=sid)
    again = tenant.carrier.call(sender, service.pool[0], sid=sid)

    assert first.content == again.content
    assert first.verbs == ("Dial",)
    assert len(application.asked(OUTSIDE)) == 1
    assert len(tenant.get(f"{service.path}/Sessions")["sessions"]) == 1
