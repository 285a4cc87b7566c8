"""The one settings record and how it is found: defaults < TOML file < `MASKLINE_…` variables < command-line flags.

Nothing else in the engine reads a configuration file; the environment arrives here as an argument.
"""

import ast
import inspect
import json
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, get_type_hints

import msgspec

from engine.core.errors import MasklineError

VARIABLE_PREFIX = "MASKLINE_"
"""Start of every environment variable that is ours."""

CONFIG_VARIABLE = "MASKLINE_CONFIG"
"""Names the TOML file when `--config` does not."""


class SettingsError(MasklineError):
    """A setting is unknown or its value is unusable; the message names the key and where it came from."""


class Synchronous(StrEnum):
    """How far a commit is carried before it counts."""

    FULL = "FULL"
    NORMAL = "NORMAL"


class MexicanOne(StrEnum):
    """Which new services insert the "1" after +52 on outbound legs (behaviour 14)."""

    BY_DATE = "by-date"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(StrEnum):
    """How a log record is written."""

    HUMAN = "human"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe record that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ListenAddress(NamedTuple):
    """Where to listen."""

    host: str
    """Name or address, IPv6 without brackets."""
    port: int
    """0 picks a free one."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port` or `[host]:port`; raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the last port
            raise ValueError(f"expected host:port, got {text!r}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can choose."""

    data_dir: Path = Path("maskline-data")
    """Directory of the database, the lock and the admin socket; made when missing."""
    listen: ListenAddress = ListenAddress("127.0.0.1", 8080)
    """host:port of REST, inbound webhooks and operations; port 0 picks a free one."""
    public_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^/?#\s]+[^?#\s]*)?$")] = ""
    """URL that clients and carriers reach us by, in every answered URL and signature. Empty = http:// and listen."""
    synchronous: Synchronous = Synchronous.FULL
    """FULL survives a power cut; NORMAL may lose the last acknowledged commits in one, not when the process dies."""
    verify_signatures: bool = True
    """Refuse inbound webhooks without a right X-Twilio-Signature. false lets anybody inject calls and messages."""
    every_number_is_ours: bool = True
    """A number added to a pool by PhoneNumber need not be bought first; false asks for an owned one."""
    joins_us_and_canada: bool = False
    """Let numbers of the US serve people of Canada and the other way round."""
    inserts_mexican_one: MexicanOne = MexicanOne.BY_DATE
    """Which new services dial +521 for +52: by-date (those made before 2020-10-05, so none today), always, never."""
    rate_limit_per_second: NotNegative = 30
    """REST requests per second, endpoint and service, averaged over the window; 0 = no limit."""
    rate_limit_window_seconds: Positive = 5
    """Seconds of the sliding window of the rate limit."""
    max_inbound_body_bytes: Positive = 65_536
    """Largest inbound webhook, in bytes."""
    max_api_body_bytes: Positive = 1_048_576
    """Largest REST request, in bytes."""
    retention_days: Positive = 90
    """Days after which a closed session is erased with its participants and interactions."""
    redelivery_window_seconds: NotNegative = 600
    """Seconds in which a repeated CallSid or MessageSid gets the same answer again."""
    shutdown_grace_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 4
    """Seconds that requests in flight are given when the server stops."""
    log_format: LogFormat = LogFormat.HUMAN
    """human or json; one record a line on standard error."""
    log_level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""


class LoadedSettings(msgspec.Struct, frozen=True):
    """Settings, and where each of them came from."""

    settings: Settings
    origins: dict[str, str]
    """Key to origin: "default", "file NAME", "variable NAME" or "flag --NAME"."""


class _Given(NamedTuple):
    value: object
    origin: str
    is_text: bool


def load_settings(
    *, config: Path | None, environ: Mapping[str, str], flags: Mapping[str, object | None]
) -> LoadedSettings:
    """Combine the sources; a flag that is None was not given. Raises SettingsError."""
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    given = _from_file(named) if named else {}
    given |= _from_environ(environ)
    given |= {
        key: _Given(value, f"flag --{key.replace('_', '-')}", is_text=True)
        for key, value in flags.items()
        if value is not None
    }
    types = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    for key, raw in given.items():
        if key not in types:
            raise SettingsError(
                f"unknown setting {key!r} ({raw.origin}); `maskline serve --print-settings` lists them all"
            )
        values[key] = _converted(key, raw, types[key])
    origins = {key: given[key].origin if key in given else "default" for key in types}
    return LoadedSettings(Settings(**values), origins)


def render_settings(loaded: LoadedSettings) -> str:
    """Write the settings as TOML that can be loaded again, each with its meaning and origin as comments."""
    meanings = setting_meanings()
    blocks = []
    for key, origin in loaded.origins.items():
        value = getattr(loaded.settings, key)
        plain = value if isinstance(value, bool | int) else str(value)
        blocks.append(f"# {meanings[key]}\n# From: {origin}.\n{key} = {json.dumps(plain, ensure_ascii=False)}\n")
    return "\n".join(blocks)


def _from_file(path: Path) -> dict[str, _Given]:
    origin = f"file {path}"
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise SettingsError(f"cannot read the settings {origin}: {problem.strerror}") from problem
    except ValueError as problem:
        raise SettingsError(f"the settings {origin} are no TOML: {problem}") from problem
    return {key: _Given(value, origin, is_text=False) for key, value in table.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    return {
        name.removeprefix(VARIABLE_PREFIX).lower(): _Given(value, f"variable {name}", is_text=True)
        for name, value in environ.items()
        if name.startswith(VARIABLE_PREFIX) and name != CONFIG_VARIABLE
    }


def _converted(key: str, raw: _Given, wanted: Any) -> object:  # noqa: ANN401 - a type form has no better type
    parse = _PARSERS.get(wanted)
    try:
        if parse is None:
            return msgspec.convert(raw.value, wanted, strict=not raw.is_text)
        return parse(msgspec.convert(raw.value, _NotEmpty))
    except ValueError as problem:
        raise SettingsError(f"bad value for setting {key!r} ({raw.origin}): {problem}; got {raw.value!r}") from problem


def _path(text: str) -> Path:
    return Path(text).expanduser()


_NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
_PARSERS: dict[type, Callable[[str], object]] = {Path: _path, ListenAddress: ListenAddress.parse}


def setting_meanings() -> dict[str, str]:
    """Read the string under each field, so that the record is documented in one place only."""
    body = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class is a class
    meanings = {}
    for field, meaning in zip(body.body, body.body[1:], strict=False):
        match field, meaning:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                meanings[key] = text
    return meanings
