"""The one settings record and how it is found: defaults < TOML file < `MASKLINE_…` variables < command-line flags.

Nothing else in the engine reads a configuration file; the environment arrives here as an argument.
"""

import ast
import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import EnumType, StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import msgspec

from actors.kernel.settings import HostSettings
from engine.api.settings import ApiSettings
from engine.channels.feed.settings import FeedSettings
from engine.channels.sip.settings import SipSettings
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import ListenAddress
from engine.channels.twiml.settings import WebhookSettings
from engine.core.model.errors import MasklineError
from engine.core.model.settings import (
    FIXED,
    PORT_EACH,
    BadSecret,
    Fixed,
    Misfit,
    Networks,
    NotNegative,
    Positive,
    Seconds,
    SharedSettings,
    Tables,
    in_words,
)
from engine.formats.urls import check_url
from engine.http.port import PortSettings
from engine.outbound.settings import EgressSettings
from storage.postgres.settings import DatabaseSettings

MaybeAddress = ListenAddress | None
"""Where to listen, or nowhere: empty text."""

VARIABLE_PREFIX = "MASKLINE_"
"""Start of every environment variable that is ours."""

CONFIG_VARIABLE = "MASKLINE_CONFIG"
"""Names the TOML file when `--config` does not."""

NODE_DATA_DIR_VARIABLE = "MASKLINE_NODE_DATA_DIR"
"""Read where a host runs: the data directory on that node, where it is another one than the cluster's `data_dir`."""


class SettingsError(MasklineError):
    """A setting is unknown or its value is unusable; the message names the key and where it came from."""


class Synchronous(StrEnum):
    """How far a commit is carried before it counts."""

    FULL = "FULL"
    NORMAL = "NORMAL"


class LogFormat(StrEnum):
    """How a log record is written."""

    HUMAN = "human"
    JSON = "json"


class Runtime(StrEnum):
    """What carries the hosts."""

    EMBEDDED = "embedded"
    RAY = "ray"


class LogLevel(StrEnum):
    """The least severe record that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_LISTEN = ListenAddress("127.0.0.1", 8080)


@dataclass(frozen=True, kw_only=True)
class EngineSettings(SharedSettings):
    """What the composition root and the cluster read."""

    data_dir: Path = Path("maskline-data")
    """Directory of the database, the lock and the admin socket; made when missing."""
    listen: ListenAddress = _LISTEN
    """host:port of REST, inbound webhooks and operations; port 0 picks a free one."""
    operations_listen: Annotated[ListenAddress | None, PORT_EACH] = None
    """host:port of metrics and health alone, beside those on listen; a cluster's host N takes the port plus N."""
    console: bool = True
    """Serve the operator's console at /console of listen: read-only pages behind a login."""
    runtime: Runtime = Runtime.EMBEDDED
    """embedded = one host in this process; ray = hosts that Ray starts and restarts."""
    ray_address: str = ""
    """host:port of a Ray to join. Empty = a local one is started for this data directory alone."""
    node_name: str = ""
    """Name of this machine in a cluster on a database. Empty = its host name."""
    node_address: Fixed[str] = ""
    """Where the machines of a cluster on a database reach this one; `engine.cluster.plan` finds it out."""
    peer_timeout_seconds: Seconds = 5.0
    """Seconds that a host waits for another host's answer."""
    peers_listen: Annotated[ListenAddress | None, PORT_EACH] = None
    """host:port at which other hosts ask; empty = a free port of the node's address. Host N takes the port plus N."""
    peers_secret: Fixed[str] = field(default="", repr=False)
    """What the hosts of a cluster with files prove to each other that they know; `engine.cluster.plan` makes it."""
    host_silence_seconds: Seconds = 5.0
    """Seconds after which a host that does not answer is killed and started again."""
    host_start_seconds: Seconds = 300.0
    """The same while it starts and loads."""
    synchronous: Synchronous = Synchronous.FULL
    """FULL survives a power cut; NORMAL may lose the last acknowledged commits in one, not when the process dies."""
    outbox_limit: Positive = 1_000_000
    """Deliveries that may be pending before /readyz turns red."""
    shutdown_grace_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 3
    """Seconds that requests in flight are given when the server stops."""
    metrics_services: NotNegative = 0
    """Services, the oldest first, whose pools have metrics of their own, by their unique name; 0 = none."""
    log_format: LogFormat = LogFormat.HUMAN
    """human or json; one record a line on standard error."""
    log_level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""

    def misfits(self) -> Iterator[Misfit]:
        """Find a URL that cannot be called, and hosts that nothing carries."""
        yield from super().misfits()
        try:
            if self.public_url:
                check_url(self.public_url)
        except ValueError as problem:
            yield Misfit("public_url", str(problem))
        if self.runtime is Runtime.EMBEDDED and self.hosts > 1:
            yield Misfit("hosts", "more than one needs --runtime ray")

    def warnings(self) -> Iterator[str]:
        """Say what a power cut may cost."""
        yield from super().warnings()
        if self.synchronous is Synchronous.NORMAL:
            yield "synchronous=NORMAL: a power cut may lose the last acknowledged commits"


@dataclass(frozen=True, kw_only=True)
class Settings(
    EngineSettings,
    HostSettings,
    ApiSettings,
    PortSettings,
    EgressSettings,
    WebhookSettings,
    FeedSettings,
    SipSettings,
    SmppSettings,
    DatabaseSettings,
):
    """Everything an operator can choose: the sections of all parts, each beside the code that reads it."""

    @property
    def is_node(self) -> bool:
        """Whether this is one machine of a cluster on a database."""
        return bool(self.database_url) and self.runtime is Runtime.RAY

    def misfits(self) -> Iterator[Misfit]:
        """Find one Ray of several machines where each has its own."""
        yield from super().misfits()
        if self.is_node and self.ray_address:
            yield Misfit("ray_address", "with database_url every machine has a Ray of its own; leave it out")


class Setting(NamedTuple):
    """One thing that an operator can choose."""

    type: Any
    meaning: str
    tables: Tables | None
    """None where it has a flag and a variable."""
    has_port_each: bool
    """Whether each host of a cluster listens at a port of its own."""


def _all_settings() -> dict[str, Setting]:
    types, found = get_type_hints(Settings, include_extras=True), {}
    for section in Settings.__mro__:
        if section is object:
            break
        for key, meaning in field_meanings(section).items():
            marks = getattr(types[key], "__metadata__", ())
            if FIXED not in marks:
                tables = next((mark for mark in marks if isinstance(mark, Tables)), None)
                found[key] = Setting(types[key], meaning, tables, PORT_EACH in marks)
    return found


_SERVICE_LINK = re.compile(
    r"""MASKLINE_(?:[A-Z0-9_]+_)?  # of a Service called maskline, or maskline-feed
        (?:SERVICE_HOST=.* | SERVICE_PORT(?:_[A-Z0-9_]+)?=\d* | PORT(?:_\d+_(?:TCP|UDP|SCTP))?=\w+://.*
        | PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO|PORT|ADDR)=.*)""",
    re.VERBOSE | re.DOTALL,
)
"""NAME=VALUE as Kubernetes sets it in every container of a namespace, for each of its Services (service links)."""


class LoadedSettings(msgspec.Struct, frozen=True):
    """Settings, and where each of them came from."""

    settings: Settings
    origins: dict[str, str]
    """Key to origin: "default", "file NAME", "variable NAME" or "flag --NAME"."""
    service_links: tuple[str, ...] = ()
    """Variables that begin as ours do, but are what Kubernetes says of a Service; they were passed over."""


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
    links = service_links(environ)
    given |= _from_environ({name: value for name, value in environ.items() if name not in links})
    given |= {
        key: _Given(value, f"flag {flag(key)}", is_text=True) for key, value in flags.items() if value is not None
    }
    values: dict[str, Any] = {}
    for key, raw in given.items():
        if key not in SETTINGS:
            raise SettingsError(
                f"unknown setting {key!r} ({raw.origin}); `maskline serve --print-settings` lists them all"
            )
        values[key] = _converted(key, raw, SETTINGS[key])
    origins = {key: given[key].origin if key in given else "default" for key in SETTINGS}
    settings = Settings(**values)
    misfit = next(settings.misfits(), None)
    if misfit is not None:
        raise SettingsError(f"bad value for setting {misfit.key!r} ({origins[misfit.key]}): {misfit.problem}")
    return LoadedSettings(settings, origins, links)


def flag(key: str) -> str:
    """Name the flag of a setting."""
    return f"--{key.replace('_', '-')}"


def service_links(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Name the variables that Kubernetes set for a Service whose name begins with "maskline"."""
    return tuple(sorted(name for name, value in environ.items() if _SERVICE_LINK.fullmatch(f"{name}={value}")))


def with_carrier_secrets(loaded: LoadedSettings, environ: Mapping[str, str]) -> Settings:
    """Return the settings with the secrets of carriers that are kept in files and variables; raises SettingsError."""
    try:
        return loaded.settings.with_secrets(environ)
    except BadSecret as problem:
        origin = loaded.origins[problem.key]
        raise SettingsError(f"bad value for setting {problem.key!r} ({origin}): {problem}") from problem


def render_settings(loaded: LoadedSettings) -> str:
    """Write the settings as TOML that can be loaded again, each with its meaning and origin as comments.

    Secrets of carriers are left out.
    """
    blocks = []
    in_order = sorted(loaded.origins, key=lambda key: SETTINGS[key].tables is not None)  # TOML has its tables last
    for key in in_order:
        value, one = getattr(loaded.settings, key), SETTINGS[key]
        written = _rendered(key, value) if one.tables is None else one.tables.lines(value, _quoted)
        lines = [f"# {one.meaning}", f"# From: {loaded.origins[key]}.", *written]
        blocks.append("".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)


def _rendered(key: str, value: object) -> Iterator[str]:
    match value:
        case bool() | int() | float():
            yield f"{key} = {json.dumps(value)}"
        case None:
            yield f'{key} = ""'
        case tuple() if not isinstance(value, ListenAddress):
            yield f"{key} = {json.dumps(value)}"
        case _:
            yield f"{key} = {_quoted(str(value))}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _from_file(path: Path) -> dict[str, _Given]:
    origin = f"file {path}"
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as problem:
        raise SettingsError(f"cannot read the settings {origin}: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise SettingsError(f"the settings {origin} is not in UTF-8; save it as UTF-8") from problem
    except ValueError as problem:
        raise SettingsError(f"the settings {origin} is no TOML: {problem}") from problem
    return {key: _Given(value, origin, is_text=False) for key, value in table.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    return {
        name.removeprefix(VARIABLE_PREFIX).lower(): _Given(value, f"variable {name}", is_text=True)
        for name, value in environ.items()
        if name.startswith(VARIABLE_PREFIX) and name not in {CONFIG_VARIABLE, NODE_DATA_DIR_VARIABLE}
    }


def _converted(key: str, raw: _Given, wanted: Setting) -> object:
    try:
        return _parsed(raw, wanted)
    except ValueError as problem:
        got = f"; got {raw.value!r}" if wanted.tables is None else ""
        choices = wanted.type if isinstance(wanted.type, EnumType) else ()
        complaint = f"it must be one of {', '.join(choices)}" if choices else in_words(problem)
        raise SettingsError(f"bad value for setting {key!r} ({raw.origin}): {complaint}{got}") from problem


def _parsed(raw: _Given, wanted: Setting) -> object:
    if wanted.tables is not None:
        if raw.is_text:
            raise ValueError("it is a table, and can only stand in the file")
        return wanted.tables.read(msgspec.convert(raw.value, wanted.tables.form))
    parse = _PARSERS.get(get_args(wanted.type)[0] if wanted.has_port_each else wanted.type)
    return msgspec.convert(raw.value, wanted.type, strict=not raw.is_text) if parse is None else parse(raw)


def _path(raw: _Given) -> Path:
    return Path(msgspec.convert(raw.value, _NotEmpty)).expanduser()


def _listen_address(raw: _Given) -> ListenAddress:
    return ListenAddress.parse(msgspec.convert(raw.value, _NotEmpty))


def _maybe_address(raw: _Given) -> MaybeAddress:
    return None if raw.value == "" else _listen_address(raw)


def _networks(raw: _Given) -> Networks:
    if raw.is_text:
        texts = tuple(part.strip() for part in str(raw.value).split(",") if part.strip())
    else:
        texts = msgspec.convert(raw.value, Networks)
    return tuple(str(ip_network(text)) for text in texts)


_NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
_PARSERS: dict[Any, Callable[[_Given], object]] = {
    Path: _path,
    ListenAddress: _listen_address,
    MaybeAddress: _maybe_address,
    Networks: _networks,
}


def field_meanings(record: type) -> dict[str, str]:
    """Read the string under each field, so that a record is documented in one place only."""
    body = ast.parse(inspect.getsource(record)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class is a class
    meanings = {}
    for declared, meaning in zip(body.body, body.body[1:], strict=False):
        match declared, meaning:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                meanings[key] = text
    return meanings


SETTINGS = _all_settings()
"""All settings by their keys, as `--print-settings` lists them."""
