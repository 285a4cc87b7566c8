"""`maskline sip`: the SIP peers of a running server, and one question to it as a switch asks it."""

import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import click
import msgspec

from engine.api.admin.peers import SipPeerList, SipPeerShape
from engine.channels.sip.framing import Splitter
from engine.channels.sockets import ListenAddress
from engine.cli.client import with_admin
from engine.cli.options import admin_options, settings_from
from engine.cli.output import show_json, show_table
from engine.cli.tree import REFUSED, Refusal
from engine.settings import Settings

_PORT, _TLS_PORT = 5060, 5061
_FIRST_REPEAT_SECONDS = 0.5
_MAX_BYTES = 65_535


class SipAnswerShape(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    phrase: str
    seconds: float
    """From the question to this answer."""
    callee: str
    """User part of the Contact; empty without one."""
    caller_id: str
    """X-Maskline-Caller-Id."""
    interaction: str
    """X-Maskline-Interaction."""
    headers: tuple[str, ...]
    """All lines but those that repeat the question."""


@click.group()
def sip() -> None:
    """SIP peers: who asks, and a question as a switch asks it."""


@sip.command()
@admin_options
def peers(*, settings: Settings, as_json: bool) -> None:
    """List the peers on each host: when and where each was last heard, what it was answered, how many were refused."""
    found = with_admin(settings, lambda admin: admin.call("GET", "/sip/peers", answer=SipPeerList))
    if as_json:
        show_json(found)
        return
    columns = ("host", "peer", "address", "last heard", "answers", "refused", "problem")
    show_table(columns, [_row(one) for one in found.peers], none="there are no SIP peers: no [sip_peers.NAME]")
    for host in found.silent:
        click.echo(f"{host} does not answer: its peers are not listed", err=True)


def _row(peer: SipPeerShape) -> tuple[str, ...]:
    return (
        peer.host,
        peer.name or "(strangers)",
        peer.address,
        peer.heard_at or "never",
        ", ".join(f"{status}: {count}" for status, count in peer.answers.items()),
        str(peer.refused),
        peer.problem,
    )


@sip.command()
@click.option(
    "--from",
    "sender",
    required=True,
    metavar="NUMBER",
    help="Who calls, as the switch writes it.",
)
@click.option("--to", "proxy", required=True, metavar="NUMBER", help="The number reached.")
@click.option(
    "--server",
    metavar="HOST[:PORT]",
    help="Where SIP is served; else sip_listen of the settings.",
)
@click.option(
    "--transport",
    type=click.Choice(["udp", "tcp", "tls"]),
    default="udp",
    show_default=True,
)
@click.option(
    "--source",
    metavar="ADDRESS",
    default="",
    help="Which of this machine's addresses to ask from.",
)
@click.option(
    "--asserted",
    metavar="NUMBER",
    help="P-Asserted-Identity, where another number than From's calls.",
)
@click.option(
    "--call-id",
    metavar="TEXT",
    help="That of an earlier question: asks about the same call.",
)
@click.option("--insecure", is_flag=True, help="Over TLS, take whatever certificate is shown.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def ask(  # noqa: PLR0917 - its options
    sender: str,
    proxy: str,
    server: str | None,
    transport: str,
    source: str,
    asserted: str | None,
    call_id: str | None,
    insecure: bool,  # noqa: FBT001 - as click passes it
    timeout: float,
    config: Path | None,
    as_json: bool,  # noqa: FBT001 - likewise
) -> None:
    """Send one INVITE and print each answer; a call that is routed is recorded, as a switch's would be."""
    address = _address(server, transport, config)
    call = _Call(sender, proxy, address, transport, asserted=asserted, call_id=call_id)
    last: SipAnswerShape | None = None
    with _connected(address, transport, source=source, insecure=insecure, timeout_seconds=timeout) as connection:
        for last in call.answers(connection, timeout_seconds=timeout):
            if not as_json:
                _show(last)
    if last is None or last.status < _FINAL:
        raise Refusal(
            f"no final answer from {address} within {timeout:g} s; a server answers nobody whose address "
            "is in the networks of no [sip_peers]"
        )
    if as_json:
        show_json(last)
    if last.status >= _FIRST_REFUSAL:
        raise click.exceptions.Exit(REFUSED)


class _Call:
    """One INVITE and what belongs to it."""

    def __init__(
        self,
        sender: str,
        proxy: str,
        address: ListenAddress,
        transport: str,
        *,
        asserted: str | None,
        call_id: str | None,
    ) -> None:
        self._uri = f"sip:{proxy}@{address};user=phone"
        self._sender = sender
        self._transport = transport
        self._asserted = asserted
        self._call_id = call_id or f"ask-{secrets.token_hex(12)}"
        self._branch, self._tag = f"z9hG4bK{secrets.token_hex(8)}", secrets.token_hex(4)

    def answers(self, connection: socket.socket, *, timeout_seconds: float) -> Iterator[SipAnswerShape]:
        """Ask, over UDP again until something comes, and yield all answers; the final one is acknowledged."""
        began = monotonic()
        question = self._message("INVITE", connection, f"To: <{self._uri}>")
        connection.sendall(question)
        repeat = _FIRST_REPEAT_SECONDS
        is_repeated = self._transport == "udp"
        splitter = Splitter()
        while (left := began + timeout_seconds - monotonic()) > 0:
            connection.settimeout(min(left, repeat) if is_repeated else left)
            try:
                data = connection.recv(_MAX_BYTES)
            except TimeoutError:
                if is_repeated:
                    connection.sendall(question)
                    repeat *= 2
                continue
            except OSError:  # nobody listens there, or the server has hung up
                return
            if not data:
                return
            is_repeated = False
            pieces = [data] if self._transport == "udp" else splitter.feed(data)
            for answer in (_read(piece, monotonic() - began) for piece in pieces if isinstance(piece, bytes)):
                if answer.status >= _FINAL:
                    to = next(
                        (line for line in answer.headers if line.startswith("To: ")),
                        f"To: <{self._uri}>",
                    )
                    connection.sendall(self._message("ACK", connection, to))
                yield answer
                if answer.status >= _FINAL:
                    return

    def _message(self, method: str, connection: socket.socket, to: str) -> bytes:
        host, port = connection.getsockname()[:2]
        here = f"[{host}]" if ":" in host else host
        lines = [
            f"{method} {self._uri} SIP/2.0",
            f"Via: SIP/2.0/{self._transport.upper()} {here}:{port};branch={self._branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self._sender}@{here}>;tag={self._tag}",
            to,
            f"Call-ID: {self._call_id}",
            f"CSeq: 1 {method}",
        ]
        if self._asserted is not None and method == "INVITE":
            lines.append(f"P-Asserted-Identity: <sip:{self._asserted}@{here}>")
        return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()


def _read(data: bytes, seconds: float) -> SipAnswerShape:
    line, *lines = data.decode("utf-8", "replace").partition("\r\n\r\n")[0].split("\r\n")
    _, status, phrase = [*line.split(" ", 2), "", ""][:3]
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    contact = headers.get("contact", "").partition("sip:")[2].partition("@")[0]
    return SipAnswerShape(
        status=int(status) if status.isdigit() else 0,
        phrase=phrase,
        seconds=round(seconds, 4),
        callee=contact,
        caller_id=headers.get("x-maskline-caller-id", ""),
        interaction=headers.get("x-maskline-interaction", ""),
        headers=tuple(lines),
    )


def _show(answer: SipAnswerShape) -> None:
    click.echo(f"{answer.status} {answer.phrase} after {answer.seconds * 1000:.1f} ms")
    for line in answer.headers:
        if not line.startswith(_REPEATED):
            click.echo(f"  {line}")


def _address(server: str | None, transport: str, config: Path | None) -> ListenAddress:
    """Return where to ask: as said, or where the settings listen."""
    if server is not None:
        default = _TLS_PORT if transport == "tls" else _PORT
        has_port = server.rpartition(":")[2].isdigit() and (server.count(":") == 1 or "]:" in server)
        try:
            return ListenAddress.parse(server if has_port else f"{server}:{default}")
        except ValueError as problem:
            raise Refusal(f"--server {server}: {problem}") from problem
    settings = settings_from(config=config).settings
    found = settings.sip_tls_listen if transport == "tls" else settings.sip_listen
    if found is None or not found.port:
        raise Refusal("say with --server where SIP is served; the settings do not tell")
    return found


@contextmanager
def _connected(
    address: ListenAddress, transport: str, *, source: str, insecure: bool, timeout_seconds: float
) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as plain:
        plain.settimeout(timeout_seconds)
        try:
            if source:
                plain.bind((source, 0))
            plain.connect((address.host, address.port))
            if transport != "tls":
                yield plain
                return
            context = ssl.create_default_context()
            if insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain, server_hostname=address.host) as covered:
                yield covered
        except OSError as problem:
            raise Refusal(f"cannot ask {address} over {transport}: {problem.strerror or problem}") from problem


_FINAL, _FIRST_REFUSAL = 200, 400
_REPEATED = ("Via:", "From:", "To:", "Call-ID:", "CSeq:", "Content-Length:")
