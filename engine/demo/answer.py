"""The engine's answers as a carrier reads them, and how they differ from what the recorded file expects."""

from http import HTTPStatus
from xml.etree import ElementTree as ET

import msgspec

from engine.core.numbers.e164 import mask_address
from engine.core.ports.observing import Rejection
from engine.demo.script import Answered, Door, Refused, Reported, Routed, TurnedAway, Webhook

_STATUSES = {
    Rejection.BAD_SIGNATURE: HTTPStatus.FORBIDDEN,
    Rejection.UNKNOWN_NUMBER: HTTPStatus.NOT_FOUND,
    Rejection.MALFORMED: HTTPStatus.BAD_REQUEST,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a TwiML document makes the carrier do."""

    verbs: tuple[str, ...]
    """The names of the document's verbs."""
    to: str = ""
    """Who is reached."""
    caller_id: str = ""
    """What they see."""
    body: str = ""
    """What they read."""
    media: tuple[str, ...] = ()
    """What they look at."""
    status_url: str = ""
    """Where the state of their leg is to be reported."""


def read_answer(document: str) -> Answer:
    """Read a TwiML document; raises ValueError when it is none."""
    try:
        root = ET.fromstring(document)  # noqa: S314 - our own engine's answer
    except ET.ParseError as problem:
        raise ValueError(f"the answer is no XML: {problem}") from problem
    verbs = tuple(verb.tag for verb in root)
    dialled = root.find("Dial/Number")
    if verbs == ("Dial",) and dialled is not None:
        return Answer(
            verbs=verbs,
            to=dialled.text or "",
            caller_id=root[0].get("callerId", ""),
            status_url=dialled.get("statusCallback", ""),
        )
    if verbs == ("Message",):
        message = root[0]
        return Answer(
            verbs=verbs,
            to=message.get("to", ""),
            caller_id=message.get("from", ""),
            body=message.findtext("Body", ""),
            media=tuple(media.text or "" for media in message.findall("Media")),
            status_url=message.get("statusCallback", ""),
        )
    return Answer(verbs=verbs)


def difference(webhook: Webhook, status: int, document: str) -> str | None:
    """Say how an answer differs from what the webhook expects, numbers masked; None when it does not."""
    expect = webhook.expect
    wanted = HTTPStatus.OK
    if isinstance(expect, TurnedAway):
        wanted = _STATUSES[expect.problem]
    elif isinstance(expect, Reported):
        wanted = HTTPStatus.NO_CONTENT
    if status != wanted:
        return f"expected HTTP {wanted.value}, got {status}"
    if isinstance(expect, TurnedAway | Reported):
        return None
    try:
        answer = read_answer(document)
    except ValueError as problem:
        return str(problem)
    if isinstance(expect, Refused):
        return _refusal_difference(webhook, answer)
    if isinstance(expect, Answered):
        wanted_verbs = " ".join(expect.verbs) or "nothing"
        return None if answer.verbs == expect.verbs else f"expected {wanted_verbs}, got {_shown(answer)}"
    return _route_difference(webhook, expect, answer)


def _refusal_difference(webhook: Webhook, answer: Answer) -> str | None:
    wanted = ("Reject",) if webhook.door is Door.VOICE else ()
    return None if answer.verbs == wanted else f"expected a refusal, got {_shown(answer)}"


def _route_difference(webhook: Webhook, expect: Routed, answer: Answer) -> str | None:
    wanted = Answer(
        verbs=("Dial",) if webhook.door is Door.VOICE else ("Message",),
        to=expect.to,
        caller_id=expect.caller_id,
        body=webhook.form.get("Body", ""),
        media=tuple(value for name, value in webhook.form.items() if name.startswith("MediaUrl")),
        status_url=answer.status_url,
    )
    if answer == wanted:
        return None if answer.status_url else "there is no address to report the leg to"
    if (answer.to, answer.caller_id) == (wanted.to, wanted.caller_id):
        return "the text or the pictures came out differently"
    return f"expected {_shown(wanted)}, got {_shown(answer)}"


def _shown(answer: Answer) -> str:
    if not answer.to:
        return " ".join(answer.verbs) or "nothing"
    return f"{mask_address(answer.to)} to see {answer.caller_id}"
