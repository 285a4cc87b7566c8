"""What applications answer to the webhooks that decide: the intercept gate and the out-of-session hook; sans-IO.

Nothing an application sends is trusted: documents have no DTD and no entities, texts a length, values a form.
Source: behaviour 9, 12.3 and 13.
"""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any
from xml.parsers import expat

import msgspec

from engine.core.model.errors import Code
from engine.core.model.records import Mode
from engine.core.model.texts import check_name, check_text
from engine.core.ports.hooks import InterceptVerdict, OutOfSessionVerdict
from engine.core.routing.traffic import SessionWanted
from engine.core.sessions.lifecycle import MAX_TTL_SECONDS
from engine.formats.values import parse_date

MAX_ANSWER = 65_536
"""Bytes of an answer that are read; a longer one is refused (behaviour 5)."""

MAX_IDENTIFIER, MAX_PROXY_IDENTIFIER, MAX_UNIQUE_NAME = 191, 255, 191
"""Characters (behaviour 5)."""

_FORBIDDEN = 403
_NO_CONTENT = 204
_JSON_TYPES = frozenset({"application/json", "text/json"})
_XML_TYPES = frozenset({"application/xml", "text/xml", "application/twiml+xml"})
_CHARSETS = {
    "us-ascii": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "windows-1252": "cp1252",
    "iso-8859-15": "iso-8859-15",
}
"""The charsets that are believed, read as browsers do; any other is tried as UTF-8."""

_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_XML_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*\?>")
_DECLARED_ENCODING = re.compile(rb"\A\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_LOOKS_LIKE_XML = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*<(?:\?xml|Response)")


class HookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's HTTP response, as far as it decides anything."""

    status: int
    content_type: str = ""
    """The header, with its parameters."""
    body: bytes = b""
    is_cut: bool = False
    """It was longer than `MAX_ANSWER`, and the rest was not read."""
    is_broken: bool = False
    """Head or body did not arrive whole; the status did."""

    @property
    def is_ok(self) -> bool:
        """Tell a 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of successes

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset parameter in lower case, or empty."""
        for parameter in self.content_type.split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'").lower()
        return ""


class _Unusable(Exception):  # noqa: N818 - does not leave this module
    """The body is not what its type says."""


def intercept_verdict(answer: HookAnswer, *, may_rewrite: bool) -> InterceptVerdict:
    """Judge a gate's answer: 403 blocks, any other 2xx lets pass, everything else is no answer.

    With `may_rewrite` a JSON object's `body` replaces the text, and JSON that cannot be read or broke off is no answer
    either: an application that rewrites texts would not want the original to pass by mistake.
    """
    if answer.status == _FORBIDDEN:
        return InterceptVerdict(is_blocked=True)
    if not answer.is_ok:
        return InterceptVerdict(is_failed=True)
    if may_rewrite and answer.is_broken and answer.media_type in _JSON_TYPES | {""}:
        return InterceptVerdict(is_failed=True)
    if not may_rewrite or answer.media_type not in _JSON_TYPES or not answer.body.strip():
        return InterceptVerdict()
    try:
        return InterceptVerdict(body=_text(_object(answer), "body"))
    except _Unusable:
        return InterceptVerdict(is_failed=True)


def out_of_session_verdict(answer: HookAnswer) -> OutOfSessionVerdict:
    """Judge an out-of-session answer: TwiML, a session that is wanted, or the code of what it is instead."""
    if not answer.is_ok:
        return OutOfSessionVerdict(code=Code.OUT_OF_SESSION_CALLBACK_FAILED)
    if answer.is_broken:
        return OutOfSessionVerdict(code=Code.WEBHOOK_FETCH_FAILED)
    if answer.is_cut:
        return OutOfSessionVerdict(code=Code.WEBHOOK_RESPONSE_TOO_LARGE)
    if answer.status == _NO_CONTENT or not answer.body.strip():
        return OutOfSessionVerdict(code=Code.UNKNOWN_SCENARIO)
    if answer.media_type in _XML_TYPES:
        return _twiml_verdict(answer)
    if answer.media_type in _JSON_TYPES:
        return _json_verdict(answer)
    looks_like_xml = _LOOKS_LIKE_XML.match(answer.body) is not None
    return OutOfSessionVerdict(code=Code.TWIML_CONTENT_TYPE if looks_like_xml else Code.UNKNOWN_SCENARIO)


def _twiml_verdict(answer: HookAnswer) -> OutOfSessionVerdict:
    try:
        return OutOfSessionVerdict(twiml=_document(answer))
    except _Unusable:
        return OutOfSessionVerdict(code=Code.TWIML_INVALID)


def _json_verdict(answer: HookAnswer) -> OutOfSessionVerdict:
    try:
        return OutOfSessionVerdict(wanted=_session_wanted(_object(answer)))
    except _Unusable:
        return OutOfSessionVerdict(code=Code.UNKNOWN_SCENARIO)


# -- TwiML -----------------------------------------------------------------------------------------------------------


def _document(answer: HookAnswer) -> str:
    """Return the document in UTF-8 with its declaration renewed, once expat has read the whole of it."""
    text = _decoded(answer.body, answer.charset or _declared_charset(answer.body))
    document = _XML_HEAD + _XML_DECLARATION.sub("", text.removeprefix("\ufeff"), count=1).strip()
    root = _root_of(document)
    if root != "Response":
        raise _Unusable(root)
    return document


def _declared_charset(body: bytes) -> str:
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    declared = _DECLARED_ENCODING.match(body)
    return declared[1].decode().lower() if declared else ""


def _root_of(document: str) -> str:
    names: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = lambda name, _: names.append(name) if not names else None
    try:
        parser.Parse(document.encode(), True)  # noqa: FBT003 - the C function takes no names
    except (expat.ExpatError, UnicodeEncodeError) as problem:
        raise _Unusable(str(problem)) from problem
    return names[0]


def _refuse(*_: object) -> None:
    raise _Unusable("a document type declaration")


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(_CHARSETS.get(charset, "utf-8"))
    except UnicodeDecodeError as problem:
        raise _Unusable(str(problem)) from problem


# -- JSON ------------------------------------------------------------------------------------------------------------


def _object(answer: HookAnswer) -> dict[str, Any]:
    """Read a JSON object, whatever charset its type names: the bytes tell (behaviour 13; 2019-04-17)."""
    if answer.is_cut:
        raise _Unusable("too long")
    try:
        text = answer.body.decode(json.detect_encoding(answer.body))
    except UnicodeDecodeError:
        text = answer.body.decode("cp1252", "replace")
    try:
        return msgspec.json.decode(text.removeprefix("\ufeff"), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as problem:
        raise _Unusable(str(problem)) from problem


def _session_wanted(keys: dict[str, Any]) -> SessionWanted:
    identifier = _text(keys, "participantIdentifier", longest=MAX_IDENTIFIER, check=check_text)
    if not identifier:
        raise _Unusable("participantIdentifier")
    proxy = _text(keys, "participantProxyIdentifier", longest=MAX_PROXY_IDENTIFIER, check=check_text)
    return SessionWanted(
        identifier=identifier,
        proxy_identifier=proxy or None,
        unique_name=_text(keys, "uniqueName", longest=MAX_UNIQUE_NAME, check=check_name) or None,
        mode=_mode(keys),
        ttl_seconds=_ttl(keys),
        date_expiry=_date(keys),
    )


def _text(
    keys: dict[str, Any], name: str, *, longest: int = MAX_ANSWER, check: Callable[[str], None] | None = None
) -> str | None:
    value = keys.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > longest:
        raise _Unusable(name)
    if check is not None:
        try:
            check(value)
        except ValueError as problem:
            raise _Unusable(name) from problem
    return value


def _mode(keys: dict[str, Any]) -> Mode | None:
    text = _text(keys, "mode")
    try:
        return Mode(text.strip().lower().replace("_", "-")) if text else None
    except ValueError as problem:
        raise _Unusable("mode") from problem


def _ttl(keys: dict[str, Any]) -> int | None:
    value = keys.get("ttl")
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(MAX_TTL_SECONDS)):
        value = int(value)
    if value is None or value == "":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TTL_SECONDS:
        raise _Unusable("ttl")
    return value


def _date(keys: dict[str, Any]) -> float | None:
    text = _text(keys, "dateExpiry")
    try:
        return parse_date(text) if text else None
    except (ValueError, OverflowError) as problem:
        raise _Unusable("dateExpiry") from problem
