"""Logs: shape of a line, masking, and a flood that does not drown them."""

import io
import json
import logging
from collections.abc import Iterator

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.core.model.records import DebuggerEvent
from engine.telemetry.debugger import DebuggerLog
from engine.telemetry.logs import ROOT, configure_logs

NUMBER_FORMS = ["12125550133", "+12125550133", "(212) 555-0133", "%2B1%20212%20555%200133"]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Takes what is logged; the handlers of the test runner come back afterwards."""
    root, ours, theirs = logging.getLogger(), logging.getLogger(ROOT), logging.getLogger("psycopg")
    kept = root.handlers[:], root.level, ours.level, theirs.level
    yield io.StringIO()
    root.handlers[:], root.level, ours.level, theirs.level = kept


def event(at: float, code: int = Code.STOP_WORD) -> DebuggerEvent:
    return DebuggerEvent(code=code, account_sid="AC" + "0" * 32, message="A stop word was dropped", at=at)


def test_a_json_record_is_one_line_with_its_fields(stream: io.StringIO) -> None:
    """Machines read time, level, logger, message and every field; what is None is left out."""
    configure_logs(as_json=True, level="info", stream=stream)

    logging.getLogger(f"{ROOT}.engine").info("started\nup", extra={"port": 8080, "session_sid": None})

    lines = stream.getvalue().splitlines()
    entry = json.loads(lines[0])
    assert len(lines) == 1
    assert entry.pop("time").endswith("+00:00")
    assert entry == {"level": "info", "logger": "maskline.engine", "message": "started\nup", "port": 8080}


def test_a_human_record_reads_as_a_sentence(stream: io.StringIO) -> None:
    """Time, level, where, what, then the fields."""
    configure_logs(as_json=False, level="info", stream=stream)

    logging.getLogger(f"{ROOT}.engine").warning("signatures are off", extra={"port": 8080})

    assert stream.getvalue()[8:] == " WARNING engine: signatures are off port=8080\n"


def test_what_psycopg_ignores_is_not_logged(stream: io.StringIO) -> None:
    """With each connection that is lost it warns of what it could not do with it; who had it says that it is lost."""
    configure_logs(as_json=False, level="debug", stream=stream)

    logging.getLogger("psycopg").warning("error ignored terminating a pipeline")
    logging.getLogger("psycopg").error("it cannot go on")

    assert stream.getvalue()[8:] == " ERROR   psycopg: it cannot go on\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_whole_numbers_never_reach_the_log(stream: io.StringIO, *, as_json: bool) -> None:
    """A caller who forgot to mask is caught: in the message, the fields and the traceback."""
    configure_logs(as_json=as_json, level="info", stream=stream)
    log = logging.getLogger(ROOT)

    try:
        int("+14155550123 is no number")
    except ValueError:
        log.exception("from %s", "+14155550123", extra={"to": "+442079460123"})

    assert "0123" not in stream.getvalue()
    assert stream.getvalue().count("+1415555XXXX") >= 2
    assert "ValueError" in stream.getvalue()


def test_other_libraries_are_heard_from_warning_on(stream: io.StringIO) -> None:
    """The level is ours; a library's chatter stays out."""
    configure_logs(as_json=False, level="debug", stream=stream)

    logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("uvicorn.error").warning("trouble")
    logging.getLogger(ROOT).debug("detail")

    assert "chatter" not in stream.getvalue()
    assert "trouble" in stream.getvalue()
    assert "detail" in stream.getvalue()


def test_a_debugger_event_carries_its_code_and_title(stream: io.StringIO) -> None:
    """The operator can look the code up and find the account."""
    configure_logs(as_json=True, level="info", stream=stream)

    DebuggerLog().write(event(1.0))

    entry = json.loads(stream.getvalue())
    assert (entry["code"], entry["title"], entry["level"]) == (80901, "Message matched stop word", "warning")
    assert entry["account_sid"] == "AC" + "0" * 32


def test_a_kind_of_event_is_written_once_a_minute_and_then_counted(stream: io.StringIO) -> None:
    """A kind is a code and whose account it is; what is late by a moment belongs to the minute at hand."""
    configure_logs(as_json=True, level="info", stream=stream)
    log = DebuggerLog()

    for at in (60.0, 61.0, 119.9):
        log.write(event(at))
    log.write(event(62.0, code=Code.NO_PARTNER))
    log.write(msgspec.structs.replace(event(63.0), account_sid="AC" + "1" * 32))
    log.write(event(120.0))
    log.write(event(119.99))
    log.sum_up(180.0)

    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    stops = [
        (one["message"], one.get("count"), one["account_sid"][-1]) for one in said if one["code"] == Code.STOP_WORD
    ]
    more = "more in that minute: Message matched stop word"
    assert stops == [
        ("A stop word was dropped", None, "0"),
        ("A stop word was dropped", None, "1"),
        (f"2 {more}", 2, "0"),
        ("A stop word was dropped", None, "0"),
        (f"1 {more}", 1, "0"),
    ]
    assert [one["code"] for one in said].count(Code.NO_PARTNER) == 1


def test_what_is_only_counted_is_in_the_sum_of_its_minute(stream: io.StringIO) -> None:
    """What is the first of its kind or of its minute cannot be only counted."""
    configure_logs(as_json=True, level="info", stream=stream)
    log = DebuggerLog()
    account_sid = event(60.0).account_sid

    assert not log.count(Code.STOP_WORD, account_sid, 60.0)
    log.write(event(60.0))
    assert log.count(Code.STOP_WORD, account_sid, 61.0)
    log.write(event(62.0))
    assert not log.count(Code.NO_PARTNER, account_sid, 63.0)
    assert not log.count(Code.STOP_WORD, account_sid, 121.0)
    log.sum_up(180.0)

    assert [json.loads(line).get("count") for line in stream.getvalue().splitlines()] == [None, 2]


def test_a_clock_that_is_set_back_does_not_silence_the_log(stream: io.StringIO) -> None:
    """An hour back is another minute."""
    configure_logs(as_json=True, level="info", stream=stream)
    log = DebuggerLog()

    for at in (7200.0, 3600.0):
        log.write(event(at))

    assert len(stream.getvalue().splitlines()) == 2


def test_codes_outside_the_catalogue_are_one_kind(stream: io.StringIO) -> None:
    """They cannot fill the memory; what they were is said when the log ends."""
    configure_logs(as_json=True, level="info", stream=stream)
    log = DebuggerLog()

    for code in (99_999, 99_998, 99_997):
        log.write(msgspec.structs.replace(event(60.0), code=code))
    log.finish()
    log.finish()

    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["code"], one.get("count")) for one in said] == [(99_999, None), (0, 2)]


@pytest.mark.parametrize("as_json", [True, False])
def test_figures_and_sids_stay_readable(stream: io.StringIO, *, as_json: bool) -> None:
    """What is given as a figure is one; an operator reads sizes, processes and SIDs whole."""
    configure_logs(as_json=as_json, level="info", stream=stream)
    sid = "KC0193a5c0ffee0123456789abcdef0123"

    logging.getLogger(ROOT).info("%s took %d ns", sid, 12345678, extra={"bytes": 87654321})

    assert f"{sid} took 12345678 ns" in stream.getvalue()
    assert "87654321" in stream.getvalue()


@pytest.mark.parametrize("form", NUMBER_FORMS)
def test_a_carriers_own_sid_may_hold_a_number(stream: io.StringIO, form: str) -> None:
    """Strangers choose what stands there; so does whatever a library says without arguments."""
    configure_logs(as_json=False, level="info", stream=stream)

    DebuggerLog().write(msgspec.structs.replace(event(1.0), resource_sid=f"CA{form}", message=f"of {form}"))
    logging.getLogger("uvicorn.error").warning(f"from {form}")  # noqa: G004 - as libraries do
    logging.getLogger(ROOT).warning("from %(who)s", {"who": form})

    assert len(stream.getvalue().splitlines()) == 3
    assert "0133" not in stream.getvalue()
