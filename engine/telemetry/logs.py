"""Structured logs on one stream: a record a line, human or JSON, whole phone numbers masked whatever the caller did.

Built on the standard library's logging, so that the records of uvicorn and of every library take the same way.
"""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

from engine.core.numbers.masking import mask_text

ROOT = "maskline"
"""Name of our loggers' common root."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def configure_logs(
    *, as_json: bool, level: str, stream: TextIO | None = None, handler: logging.Handler | None = None
) -> None:
    """Send everything that is logged to the handler or stream (standard error unless told), and nowhere else."""
    handler = handler or logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else HumanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what is lost with a connection, whoever uses it says
    logging.getLogger(ROOT).setLevel(level.upper())


class HumanFormatter(logging.Formatter):
    """`12:00:00 WARNING debugger: what happened code=80901 …`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, its fields after the message, a traceback below."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = "".join(f" {key}={value}" for key, value in _fields(record))
        name = record.name.removeprefix(f"{ROOT}.")
        line = f"{time} {record.levelname:<7} {name}: {_message(record)}{fields}"
        return f"{line}\n{_traceback(record)}".rstrip()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **dict(_fields(record)),
        }
        if record.exc_info:
            entry["traceback"] = _traceback(record)
        return json.dumps(entry, ensure_ascii=False)


def json_line(line: str, level: int) -> str:
    """Write a line that a server prints, whatever its log level, as its log writes one."""
    words = {"name": f"{ROOT}.engine", "levelno": level, "levelname": logging.getLevelName(level), "msg": line}
    return JsonFormatter().format(logging.makeLogRecord(words))


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    known = ((key, value) for key, value in vars(record).items() if key not in _STANDARD and value is not None)
    # Ray adds some with an underscore to every record.
    return ((key, _shown(value)) for key, value in known if not key.startswith("_"))


def _message(record: logging.LogRecord) -> str:
    """Write the message; words of ours without arguments are masked too, as a library's may hold anything."""
    match record.args:
        case None | ():
            return mask_text(str(record.msg))
        case tuple():
            return str(record.msg) % tuple(_shown(value) for value in record.args)
        case _:
            return str(record.msg) % {name: _shown(value) for name, value in record.args.items()}


def _shown(value: object) -> object:
    """Return a value as it may be written: figures are no phone numbers, which are text everywhere."""
    return value if isinstance(value, int | float) else mask_text(str(value))


def _traceback(record: logging.LogRecord) -> str:
    return mask_text(logging.Formatter().formatException(record.exc_info)) if record.exc_info else ""
