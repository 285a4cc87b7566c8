"""What applications answer: read where it makes sense, refused where it does not, never believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.errors import Code
from engine.core.model.records import Mode
from engine.core.ports.hooks import InterceptVerdict, OutOfSessionVerdict
from engine.core.routing.traffic import SessionWanted
from engine.formats.answers import HookAnswer, intercept_verdict, out_of_session_verdict

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Response>&b;</Response>"""
EXTERNAL = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response><Say>&x;</Say></Response>'


def xml(body: str | bytes, content_type: str = "text/xml") -> OutOfSessionVerdict:
    content = body.encode() if isinstance(body, str) else body
    return out_of_session_verdict(HookAnswer(status=200, content_type=content_type, body=content))


def as_json(body: object, content_type: str = "application/json") -> OutOfSessionVerdict:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return out_of_session_verdict(HookAnswer(status=200, content_type=content_type, body=content))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, InterceptVerdict()),
        (204, InterceptVerdict()),
        (403, InterceptVerdict(is_blocked=True)),
        (302, InterceptVerdict(is_failed=True)),
        (404, InterceptVerdict(is_failed=True)),
        (500, InterceptVerdict(is_failed=True)),
    ],
)
def test_only_403_blocks(status: int, verdict: InterceptVerdict) -> None:
    """A success lets pass; anything else is no answer, which the caller may take as it likes."""
    answer = HookAnswer(status=status, content_type="application/json", body=b'{"body": "x"}')

    assert intercept_verdict(answer, may_rewrite=False) == verdict


@pytest.mark.parametrize(
    ("content_type", "body", "verdict"),
    [
        ("application/json", b'{"body": "call me"}', InterceptVerdict(body="call me")),
        ("application/json; charset=utf-8", b'{"body": ""}', InterceptVerdict(body="")),
        ("application/json", b'{"other": 1}', InterceptVerdict()),
        ("application/json", b"", InterceptVerdict()),
        ("text/plain", b'{"body": "x"}', InterceptVerdict()),
        ("application/json", b'{"body": 7}', InterceptVerdict(is_failed=True)),
        ("application/json", b"<html>", InterceptVerdict(is_failed=True)),
    ],
)
def test_a_text_is_replaced_where_the_service_allows_it(
    content_type: str, body: bytes, verdict: InterceptVerdict
) -> None:
    """JSON with `body`; broken JSON is no answer, since the original text must not pass by mistake."""
    answer = HookAnswer(status=200, content_type=content_type, body=body)

    assert intercept_verdict(answer, may_rewrite=True) == verdict


@pytest.mark.parametrize("content_type", ["text/xml", "application/xml", "Application/XML; charset=UTF-8"])
def test_twiml_is_passed_on(content_type: str) -> None:
    """With a declaration that fits the way it is sent on."""
    verdict = xml("<Response><Say>Sorry, we're closed &amp; asleep</Say></Response>", content_type)

    assert verdict.twiml == f"{HEAD}<Response><Say>Sorry, we're closed &amp; asleep</Say></Response>"
    assert verdict.code is None


def test_twiml_in_another_encoding_is_read() -> None:
    """The declaration or the type names it; what goes on is UTF-8."""
    text = '<?xml version="1.0" encoding="ISO-8859-1"?><Response><Say>Größe</Say></Response>'

    expected = f"{HEAD}<Response><Say>Größe</Say></Response>"
    assert xml(text.encode("latin-1")).twiml == expected
    assert xml(text.encode("utf-16")).twiml == expected
    assert xml(text.encode("latin-1"), "text/xml; charset=iso-8859-1").twiml == expected


@pytest.mark.parametrize(
    "document",
    [
        BOMB,
        EXTERNAL,
        "<Response>",
        "<Response/><Response/>",
        "<html><body/></html>",
        "plain text",
        "<Response>&undefined;</Response>",
        "<Response>\x00</Response>",
        b"<Response>\xff\xfe</Response>",
    ],
    ids=["bomb", "external", "unclosed", "two-roots", "html", "text", "entity", "nul", "no-utf-8"],
)
def test_what_is_no_safe_twiml_is_refused(document: str | bytes) -> None:
    """12100: no DTD, no entities of its own, one Response as the root."""
    assert xml(document) == OutOfSessionVerdict(code=Code.TWIML_INVALID)


@pytest.mark.parametrize("content_type", ["text/html", "text/plain", ""])
def test_twiml_under_another_type_is_refused(content_type: str) -> None:
    """12300, so that the application learns why its document was not run."""
    assert xml("<Response/>", content_type) == OutOfSessionVerdict(code=Code.TWIML_CONTENT_TYPE)


@pytest.mark.parametrize(
    "answer",
    [
        HookAnswer(status=200),
        HookAnswer(status=204),
        HookAnswer(status=201, content_type="text/plain", body=b"done"),
        HookAnswer(status=200, content_type="text/xml", body=b"  \n"),
        HookAnswer(status=200, content_type="application/json", body=b""),
    ],
    ids=["empty", "204", "text", "blank-xml", "blank-json"],
)
def test_an_answer_that_says_nothing_leaves_it_to_the_application(answer: HookAnswer) -> None:
    """80905: neither TwiML nor a session."""
    assert out_of_session_verdict(answer) == OutOfSessionVerdict(code=Code.UNKNOWN_SCENARIO)


@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 500, 503])
def test_no_success_is_a_failure(status: int) -> None:
    """80913, redirects included: they are not followed."""
    answer = HookAnswer(status=status, content_type="text/xml", body=b"<Response/>")

    assert out_of_session_verdict(answer) == OutOfSessionVerdict(code=Code.OUT_OF_SESSION_CALLBACK_FAILED)


def test_a_document_that_was_cut_is_refused() -> None:
    """11750, whatever its type."""
    answer = HookAnswer(status=200, content_type="text/xml", body=b"<Response>", is_cut=True)

    assert out_of_session_verdict(answer) == OutOfSessionVerdict(code=Code.WEBHOOK_RESPONSE_TOO_LARGE)


def test_a_session_is_wanted() -> None:
    """All keys of behaviour 13.1; unknown ones are ignored."""
    verdict = as_json(
        {
            "participantIdentifier": "+14155550123",
            "participantProxyIdentifier": "+15105550001",
            "uniqueName": "order-77",
            "mode": "voice_only",
            "ttl": 1800,
            "dateExpiry": "2030-01-01T00:00:00Z",
            "colour": "blue",
        }
    )

    assert verdict.wanted == SessionWanted(
        identifier="+14155550123",
        proxy_identifier="+15105550001",
        unique_name="order-77",
        mode=Mode.VOICE_ONLY,
        ttl_seconds=1800,
        date_expiry=1893456000.0,
    )


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json", "utf-8"),
        ("application/json; charset=utf-8", "utf-8"),
        ('Application/JSON;Charset="ISO-8859-1"', "latin-1"),
        ("application/json; charset=utf-16", "utf-16"),
        ("application/json; charset=klingon", "utf-8"),
    ],
)
def test_a_session_is_wanted_in_any_charset(content_type: str, encoding: str) -> None:
    """The changelog's entry of 2019-04-17."""
    body = '{"participantIdentifier": "+14155550123", "uniqueName": "Größe"}'.encode(encoding)

    wanted = as_json(body, content_type).wanted

    assert wanted == SessionWanted(identifier="+14155550123", unique_name="Größe")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"participantIdentifier": ""},
        {"participantIdentifier": None},
        {"participantIdentifier": 14155550123},
        {"participantIdentifier": "+1" * 100},
        {"participantIdentifier": "+14155550123", "ttl": -1},
        {"participantIdentifier": "+14155550123", "ttl": "soon"},
        {"participantIdentifier": "+14155550123", "ttl": True},
        {"participantIdentifier": "+14155550123", "mode": "telepathy"},
        {"participantIdentifier": "+14155550123", "dateExpiry": "tomorrow"},
        {"participantIdentifier": "+14155550123", "dateExpiry": "2031-01-01T00:00:00\0Z"},
        {"participantIdentifier": "messenger:a\0b"},
        {"participantIdentifier": "+14155550123", "participantProxyIdentifier": "\x1b+15105550001"},
        {"participantIdentifier": "+14155550123", "uniqueName": "a\nb"},
        {"participantIdentifier": "+14155550123", "uniqueName": "a/b"},
        {"participantIdentifier": "+14155550123", "uniqueName": "KC" + "0" * 32},
        {"participantIdentifier": "+14155550123", "uniqueName": "n" * 192},
        ["participantIdentifier"],
        b"{",
        b"[" * 60_000,
    ],
)
def test_json_that_wants_no_session_is_an_unknown_scenario(body: object) -> None:
    """80905: the identifier is needed, and what is given has to be right."""
    assert as_json(body) == OutOfSessionVerdict(code=Code.UNKNOWN_SCENARIO)


@given(
    status=st.integers(min_value=200, max_value=299),
    content_type=st.sampled_from(["text/xml", "application/json", "text/plain", "application/json; charset=utf-7"]),
    body=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"<Response>{text}</Response>".encode()),
)
def test_no_answer_breaks_the_reader(status: int, content_type: str, body: bytes) -> None:
    """Whatever comes is judged: at most one of document and session, and a code when neither."""
    answer = HookAnswer(status=status, content_type=content_type, body=body)

    verdict = out_of_session_verdict(answer)

    assert [verdict.twiml, verdict.wanted, verdict.code].count(None) == 2
    intercept_verdict(answer, may_rewrite=True)
