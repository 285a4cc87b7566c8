"""The one settings record and how it is found: defaults < TOML file < `MASKLINE_…` variables < command-line flags.

Nothing else in the engine reads a configuration file; the environment arrives here as an argument.
"""

import ast
import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

import msgspec

from engine.carrier_tables import TWIML, CarrierTable, carrier_of, is_start_of_number, rendered, with_secrets
from engine.channels.sip.settings import SipPeerSettings, SipPeerTables, rendered_sip_peer, sip_peers_of
from engine.channels.smpp.peers import SmppPeer
from engine.channels.sockets import ListenAddress
from engine.core.model.errors import MasklineError
from engine.formats.urls import check_url
from engine.outbound.settings import TRIES, CarrierSettings
from engine.smpp_tables import PeerTable, peers_of, with_password
from engine.smpp_tables import rendered as rendered_peer

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


class MexicanOne(StrEnum):
    """Which new services insert the "1" after +52 on outbound legs (behaviour 14)."""

    BY_DATE = "by-date"
    ALWAYS = "always"
    NEVER = "never"


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


Table = TypeVar("Table")

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
HostCount = Annotated[int, msgspec.Meta(ge=1, le=64)]
Seconds = Annotated[float, msgspec.Meta(ge=0.05, le=3600)]
MaybeAddress = ListenAddress | None
"""Where to listen, or nowhere: empty text."""
Networks = tuple[str, ...]
"""Networks as `10.0.0.0/8`; in text separated by commas."""
Carriers = tuple[CarrierSettings, ...]
"""The tables `[carriers.NAME]` of the file."""
SmppPeers = tuple[SmppPeer, ...]
"""The tables `[smpp_peers.NAME]` of the file."""
CarrierRoutes = dict[str, str]
"""The table `[carrier_routes]` of the file."""
SipPeers = tuple[SipPeerSettings, ...]
"""The tables `[sip_peers.NAME]` of the file."""

EVERY_NUMBER = "*"
"""The route of numbers that have no other."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can choose."""

    data_dir: Path = Path("maskline-data")
    """Directory of the database, the lock and the admin socket; made when missing."""
    listen: ListenAddress = ListenAddress("127.0.0.1", 8080)
    """host:port of REST, inbound webhooks and operations; port 0 picks a free one."""
    feed_listen: MaybeAddress = None
    """host:port of the feed for carriers; empty = no feed, port 0 picks a free one."""
    feed_tls_certificate: str = ""
    """PEM file of the feed's certificate chain, with feed_tls_key; read again when it changes; empty = in clear."""
    feed_tls_key: str = ""
    """PEM file of the key of that certificate."""
    max_feed_frame_bytes: Positive = 1_048_576
    """Largest frame of the feed, in bytes."""
    feed_window_frames: Positive = 64
    """Frames of one feed connection that wait for their answer; past them no more are read from it."""
    feed_window_bytes: Positive = 4_194_304
    """The same, in bytes of all those frames."""
    max_feed_connections: Positive = 1000
    """Connections of the feed at a time; more are closed with an error."""
    feed_hello_timeout_seconds: Seconds = 10.0
    """Seconds that a connection of the feed may take to say hello."""
    sip_listen: MaybeAddress = None
    """host:port of SIP over UDP and TCP, for the switches in [sip_peers]; empty = none, port 0 picks a free one."""
    sip_tls_listen: MaybeAddress = None
    """The same over TLS."""
    sip_tls_certificate: str = ""
    """PEM file of the certificate chain of sip_tls_listen, with sip_tls_key; read again when it changes."""
    sip_tls_key: str = ""
    """PEM file of the key of that certificate."""
    sip_tls_authorities: str = ""
    """PEM file of who signs the certificates of peers that have tls_names; read again when it changes."""
    sip_deadline_seconds: Seconds = 2.0
    """Seconds that an INVITE may wait for its decision, hooks included; past them the switch asks elsewhere (503)."""
    max_sip_connections: Positive = 1000
    """Connections of SIP peers at a time, over TCP and TLS; one more is closed."""
    smpp_listen: MaybeAddress = None
    """host:port where the peers of role smsc bind to us; empty = nowhere, port 0 picks a free one."""
    smpp_tls_listen: MaybeAddress = None
    """The same over TLS from the first octet, with smpp_tls_certificate and smpp_tls_key."""
    smpp_tls_certificate: str = ""
    """PEM file of the certificate chain of smpp_tls_listen; read again when it changes."""
    smpp_tls_key: str = ""
    """PEM file of the key of that certificate."""
    max_smpp_connections: Positive = 1000
    """Connections of smpp_listen and smpp_tls_listen at a time, bound or not; more are closed."""
    max_http_connections: Positive = 4000
    """Connections of listen at a time; one more is answered 503 and closed. Those of operations_listen count apart."""
    operations_listen: MaybeAddress = None
    """host:port of metrics and health alone, beside those on listen; a cluster's host N takes the port plus N."""
    console: bool = True
    """Serve the operator's console at /console of listen: read-only pages behind a login."""
    runtime: Runtime = Runtime.EMBEDDED
    """embedded = one host in this process; ray = hosts that Ray starts and restarts."""
    hosts: HostCount = 1
    """Hosts of a cluster; `maskline rebalance` moves the data to another number."""
    ray_address: str = ""
    """host:port of a Ray to join. Empty = a local one is started for this data directory alone."""
    peer_timeout_seconds: Seconds = 5.0
    """Seconds that a host waits for another host's answer."""
    host_silence_seconds: Seconds = 5.0
    """Seconds after which a host that does not answer is killed and started again."""
    host_start_seconds: Seconds = 300.0
    """The same while it starts and loads."""
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
    max_batch_body_bytes: Positive = 16_777_216
    """Largest batch of sessions, in bytes."""
    batch_key_hours: Positive = 24
    """Hours for which an item of a batch is known again by its idempotency key."""
    retention_days: Positive = 90
    """Days after which a closed session is erased with its participants and interactions."""
    longest_call_hours: NotNegative = 4
    """Hours after which a call whose end nobody has told has ended, with the status unknown; 0 = never."""
    redelivery_window_seconds: NotNegative = 600
    """Seconds in which a repeated CallSid or MessageSid gets the same answer again."""
    connect_timeout_seconds: Seconds = 5.0
    """Seconds that one try to connect to a webhook or carrier may take."""
    webhook_timeout_seconds: Seconds = 15.0
    """Seconds that one delivery of a callback or debugger event, or one request to a carrier, may take in all."""
    intercept_timeout_seconds: Seconds = 5.0
    """Seconds that an intercept hook may take; past them the event goes on, or is blocked where the service says so."""
    carrier_deadline_seconds: Seconds = 10.0
    """Seconds that a carrier waits for our answer: all hooks of one call or message together take no longer."""
    webhook_tries: Positive = TRIES
    """Deliveries of a callback or debugger event before it joins the dead letters (`maskline outbox`)."""
    carrier_tries: Positive = TRIES
    """The same for messages and hang-ups; only what a carrier has surely not taken is tried again."""
    longest_retry_wait_seconds: Seconds = 60.0
    """Where the doubling of the wait between tries ends; the first waits up to a second, half of each is random."""
    outgoing_allow: Networks = ()
    """Private networks that webhooks and carriers may be in, such as 10.0.0.0/8; none of them is called otherwise."""
    connections_per_destination: Positive = 64
    """Requests of one account to one scheme, host and port at a time, hooks and deliveries together."""
    deliveries_per_destination: Positive = 8
    """Deliveries of one account to one destination at a time; what is left of its connections is for hooks."""
    window_per_destination: Positive = 500
    """Deliveries of one account to one destination that are held in memory; the others wait on disk."""
    outbox_limit: Positive = 1_000_000
    """Deliveries that may be pending before /readyz turns red."""
    most_waiting_events: Positive = 10_000
    """Calls and messages that may wait for hooks at once, of one account no more than it leaves free: half of them."""
    alert_retention_days: Positive = 30
    """Days for which debugger events are listed."""
    alerts_per_second: Positive = 20
    """Debugger events of one account and code that are kept in a second; more are only counted."""
    shutdown_grace_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 3
    """Seconds that requests in flight are given when the server stops."""
    metrics_services: NotNegative = 0
    """Services, the oldest first, whose pools have metrics of their own, by their unique name; 0 = none."""
    log_format: LogFormat = LogFormat.HUMAN
    """human or json; one record a line on standard error."""
    log_level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""
    carriers: Carriers = ()
    """Whose webhooks are taken, and who sends messages for us; a table [carriers.NAME] each (docs/connect.md)."""
    smpp_peers: SmppPeers = ()
    """Who speaks SMPP with us, for messages in and out; a table [smpp_peers.NAME] each (docs/smpp.md)."""
    carrier_routes: CarrierRoutes = {}
    """Who sends from which proxy number, longest prefix first; "*" = all others, "twiml" = the webhook's answer."""
    sip_peers: SipPeers = ()
    """Which switches may ask over SIP; a table [sip_peers.NAME] each (docs/sip.md). Without any, nothing listens."""


FILE_ONLY = ("carriers", "carrier_routes", "sip_peers", "smpp_peers")
"""Settings that are tables, and so have no flag and no variable."""


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
    settings = Settings(**values)
    _check_routes(settings, origins["carrier_routes"])
    _check_public_url(settings.public_url, origins["public_url"])
    _check_certificate(settings, origins, "feed_tls")
    _check_sip(settings, origins)
    _check_smpp(settings, origins)
    if settings.runtime is Runtime.EMBEDDED and settings.hosts > 1:
        raise SettingsError(f"bad value for setting 'hosts' ({origins['hosts']}): more than one needs --runtime ray")
    return LoadedSettings(settings, origins, links)


def service_links(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Name the variables that Kubernetes set for a Service whose name begins with "maskline"."""
    return tuple(sorted(name for name, value in environ.items() if _SERVICE_LINK.fullmatch(f"{name}={value}")))


def with_carrier_secrets(loaded: LoadedSettings, environ: Mapping[str, str]) -> Settings:
    """Return the settings with the secrets of carriers that are kept in files and variables; raises SettingsError."""
    settings, key = loaded.settings, "carriers"
    try:
        carriers = tuple(with_secrets(carrier, environ) for carrier in settings.carriers)
        key = "smpp_peers"
        peers = tuple(with_password(peer, environ) for peer in settings.smpp_peers)
    except ValueError as problem:
        raise SettingsError(f"bad value for setting {key!r} ({loaded.origins[key]}): {problem}") from problem
    return msgspec.structs.replace(settings, carriers=carriers, smpp_peers=peers)


def render_settings(loaded: LoadedSettings) -> str:
    """Write the settings as TOML that can be loaded again, each with its meaning and origin as comments.

    Secrets of carriers are left out.
    """
    meanings = field_meanings(Settings)
    blocks = []
    for key, origin in loaded.origins.items():
        lines = [f"# {meanings[key]}", f"# From: {origin}.", *_rendered(key, getattr(loaded.settings, key))]
        blocks.append("".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)


def _rendered(key: str, value: object) -> Iterator[str]:
    match value:
        case bool() | int() | float():
            yield f"{key} = {json.dumps(value)}"
        case None:
            yield f'{key} = ""'
        case dict():
            yield f"[{key}]"
            yield from (f"{_quoted(name)} = {_quoted(target)}" for name, target in value.items())
        case tuple() if key in _TABLES:
            for table in value:
                yield from _TABLES[key](table, _quoted)
        case tuple() if not isinstance(value, ListenAddress):
            yield f"{key} = {json.dumps(value)}"
        case _:
            yield f"{key} = {_quoted(str(value))}"


_TABLES: dict[str, Callable[[Any, Callable[[str], str]], Iterator[str]]] = {
    "carriers": rendered,
    "sip_peers": rendered_sip_peer,
    "smpp_peers": rendered_peer,
}
"""How the settings that are tables are written."""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _from_file(path: Path) -> dict[str, _Given]:
    origin = f"file {path}"
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as problem:
        raise SettingsError(f"cannot read the settings {origin}: {problem.strerror}") from problem
    except ValueError as problem:
        raise SettingsError(f"the settings {origin} are no TOML: {problem}") from problem
    return {key: _Given(value, origin, is_text=False) for key, value in table.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    return {
        name.removeprefix(VARIABLE_PREFIX).lower(): _Given(value, f"variable {name}", is_text=True)
        for name, value in environ.items()
        if name.startswith(VARIABLE_PREFIX) and name not in {CONFIG_VARIABLE, NODE_DATA_DIR_VARIABLE}
    }


def _converted(key: str, raw: _Given, wanted: Any) -> object:  # noqa: ANN401 - a type form has no better type
    parse = _PARSERS.get(wanted)
    try:
        return msgspec.convert(raw.value, wanted, strict=not raw.is_text) if parse is None else parse(raw)
    except ValueError as problem:
        got = "" if key in FILE_ONLY else f"; got {raw.value!r}"
        raise SettingsError(f"bad value for setting {key!r} ({raw.origin}): {problem}{got}") from problem


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


def _carriers(raw: _Given) -> Carriers:
    carriers = tuple(carrier_of(name, table) for name, table in _table(raw, dict[str, CarrierTable]).items())
    accounts: dict[str, str] = {}
    for carrier in carriers:
        other = accounts.setdefault(carrier.account_sid, carrier.name) if carrier.account_sid else carrier.name
        if other != carrier.name:
            raise ValueError(f"carriers.{other} and carriers.{carrier.name} have the same account_sid")
    return carriers


def _smpp_peers(raw: _Given) -> SmppPeers:
    return peers_of(_table(raw, dict[str, PeerTable]))


def _carrier_routes(raw: _Given) -> CarrierRoutes:
    routes = _table(raw, CarrierRoutes)
    for prefix in routes:
        if prefix != EVERY_NUMBER and not is_start_of_number(prefix):
            raise ValueError(f'{prefix!r} is neither the start of a number, such as "+1415", nor "*"')
    return routes


def _check_routes(settings: Settings, origin: str) -> None:
    known = {TWIML, *(one.name for one in settings.carriers), *(peer.name for peer in settings.smpp_peers)}
    only_receives = {one.name for one in settings.carriers if not one.url and not one.path}
    for prefix, name in settings.carrier_routes.items():
        where = f"bad value for setting 'carrier_routes' ({origin}): {prefix!r} names the carrier {name!r}"
        if name not in known:
            raise SettingsError(f"{where}; there are {', '.join(sorted(known))}")
        if name in only_receives:
            raise SettingsError(f"{where}, which has no url to send to")


def _check_public_url(url: str, origin: str) -> None:
    try:
        if url:
            check_url(url)
    except ValueError as problem:
        raise SettingsError(f"bad value for setting 'public_url' ({origin}): {problem}") from problem


def _check_certificate(settings: Settings, origins: dict[str, str], listener: str) -> None:
    certificate, key = (f"{listener}_{one}" for one in ("certificate", "key"))
    if bool(getattr(settings, certificate)) != bool(getattr(settings, key)):
        given, other = (certificate, key) if getattr(settings, certificate) else (key, certificate)
        raise SettingsError(f"bad value for setting {given!r} ({origins[given]}): {other} is needed with it")


def _check_sip(settings: Settings, origins: dict[str, str]) -> None:
    _check_certificate(settings, origins, "sip_tls")
    plain, tls = settings.sip_listen, settings.sip_tls_listen
    problem = None
    if tls is not None and not settings.sip_tls_certificate:
        problem = ("sip_tls_listen", "sip_tls_certificate and sip_tls_key are needed with it")
    elif plain and tls and plain.port and tls.port and abs(plain.port - tls.port) < settings.hosts:
        problem = ("sip_tls_listen", "host N takes the port plus N, and sip_listen has some of those ports")
    named = next((one.name for one in settings.sip_peers if one.tls_names), None)
    if named is not None and not (tls and settings.sip_tls_authorities):
        problem = ("sip_peers", f"sip_peers.{named}.tls_names needs sip_tls_listen and sip_tls_authorities")
    if problem is not None:
        raise SettingsError(f"bad value for setting {problem[0]!r} ({origins[problem[0]]}): {problem[1]}")


def _check_smpp(settings: Settings, origins: dict[str, str]) -> None:
    def complain(key: str, problem: str) -> SettingsError:
        return SettingsError(f"bad value for setting '{key}' ({origins[key]}): {problem}")

    _check_certificate(settings, origins, "smpp_tls")
    if settings.smpp_tls_listen is not None and not settings.smpp_tls_certificate:
        raise complain("smpp_tls_listen", "smpp_tls_certificate is needed with it")
    is_listening = settings.smpp_listen is not None or settings.smpp_tls_listen is not None
    for peer in settings.smpp_peers:
        if any(carrier.name == peer.name for carrier in settings.carriers):
            raise complain("smpp_peers", f"smpp_peers.{peer.name} has the name of a carrier")
        if not peer.is_esme and (settings.smpp_tls_listen is None if peer.tls else not is_listening):
            where = "smpp_tls_listen" if peer.tls else "smpp_listen"
            raise complain("smpp_peers", f"smpp_peers.{peer.name} binds to us, but {where} is empty")


def _table(raw: _Given, wanted: type[Table]) -> Table:
    if raw.is_text:
        raise ValueError("it is a table, and can only stand in the file")
    return msgspec.convert(raw.value, wanted)


_NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
_PARSERS: dict[Any, Callable[[_Given], object]] = {
    Path: _path,
    ListenAddress: _listen_address,
    MaybeAddress: _maybe_address,
    Networks: _networks,
    Carriers: _carriers,
    SmppPeers: _smpp_peers,
    CarrierRoutes: _carrier_routes,
    SipPeers: lambda raw: sip_peers_of(_table(raw, SipPeerTables)),
}


def field_meanings(record: type[msgspec.Struct]) -> dict[str, str]:
    """Read the string under each field, so that a record is documented in one place only."""
    body = ast.parse(inspect.getsource(record)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class is a class
    meanings = {}
    for field, meaning in zip(body.body, body.body[1:], strict=False):
        match field, meaning:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                meanings[key] = text
    return meanings
