"""`maskline smpp`: the SMPP peers of a running server, and one message to a peer, PDU by PDU."""

import asyncio
import os
from pathlib import Path

import click

from engine.api.admin.peers import SmppPeerList, SmppPeerShape
from engine.channels.smpp.dialer import tls_of
from engine.channels.smpp.pdu import (
    RESPONSE,
    Bind,
    Command,
    Frame,
    Splitter,
    Status,
    frame,
    read_message_id,
    write_bind,
    write_message,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.writing import OutText, TooLong, parts_of
from engine.cli.client import with_admin
from engine.cli.options import admin_options, settings_from
from engine.cli.output import show_json, show_table, yes_no
from engine.cli.tree import Refusal, Refused
from engine.settings import Settings, with_carrier_secrets

_PATIENCE = 30.0


@click.group()
def smpp() -> None:
    """SMPP peers: who is bound, and a message to one of them."""


@smpp.command()
@admin_options
def peers(*, settings: Settings, as_json: bool) -> None:
    """List the peers: how many connections are bound, whether messages can be sent, what is wrong."""
    found = with_admin(settings, lambda admin: admin.call("GET", "/smpp/peers", answer=SmppPeerList))
    if as_json:
        show_json(found)
        return
    columns = ("peer", "role", "bound", "can send", "slowed", "waiting parts", "problem")
    show_table(columns, [_row(one) for one in found.peers], none="there are no SMPP peers: no [smpp_peers.NAME]")


def _row(peer: SmppPeerShape) -> tuple[str, ...]:
    return (
        peer.name,
        peer.role,
        str(peer.bound_connections),
        yes_no(peer.can_send),
        yes_no(peer.is_slowed),
        str(peer.waiting_parts),
        peer.problem,
    )


@smpp.command()
@click.argument("peer", metavar="PEER")
@click.option("--from", "sender", required=True, help="Number that it is sent from.")
@click.option("--to", required=True, help="Number that it is sent to.")
@click.argument("text", metavar="TEXT")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
def send(*, peer: str, sender: str, to: str, text: str, config: Path | None) -> None:
    """Bind to a peer of role esme over a connection of its own, send one text, and print each PDU in words."""
    known = {one.name: one for one in with_carrier_secrets(settings_from(config=config), os.environ).smpp_peers}
    found = known.get(peer)
    if found is None:
        others = (
            f"there are {', '.join(sorted(known))}"
            if known
            else "the settings have none; name their file with --config"
        )
        raise Refusal(f"there is no peer {peer!r}; {others}")
    if not found.is_esme:
        raise Refusal(f"{peer} binds to us; a message to it can only leave by the server")
    try:
        problem = asyncio.run(_send(found, OutText(sender, to, text)))
    except TooLong as problem_of_text:
        raise Refusal(str(problem_of_text)) from problem_of_text
    except (OSError, EOFError) as failure:
        raise Refusal(f"{peer} cannot be spoken to: {str(failure) or 'it closed the connection'}") from failure
    if problem:
        raise Refused(problem)


async def _send(peer: SmppPeer, text: OutText) -> str:
    """Return why the peer did not take a text; empty = it did."""
    parts = parts_of(text, peer, reference=1)
    context = tls_of(peer)
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(
            peer.host, peer.at_port, ssl=context, server_hostname=peer.host if context is not None else None
        ),
        _PATIENCE,
    )
    talk = _Talk(reader, writer)
    try:
        bind = await talk.ask(
            Command.BIND_TRANSMITTER, write_bind(Bind(system_id=peer.system_id, password=peer.password))
        )
        if bind.status:
            return f"the bind was refused with status {_status(bind.status)}"
        for part in parts:
            answer = await talk.ask(Command.SUBMIT_SM, write_message(part))
            if answer.status:
                return f"the message was refused with status {_status(answer.status)}"
            click.echo(f"   the peer calls it {read_message_id(answer.body)!r}")
        await talk.ask(Command.UNBIND)
    finally:
        writer.close()
    return ""


class _Talk:
    """One connection, each PDU printed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter()
        self._read: list[Frame] = []
        self._sequence = 0

    async def ask(self, command: Command, body: bytes = b"") -> Frame:
        """Send a request and return its response."""
        self._sequence += 1
        _say("->", Frame(command, 0, self._sequence, body))
        self._writer.write(frame(command, self._sequence, body))
        async with asyncio.timeout(_PATIENCE):
            while True:
                one = await self._next()
                _say("<-", one)
                if one.command & RESPONSE and one.sequence == self._sequence:
                    return one
                if not one.command & RESPONSE:
                    self._writer.write(frame(one.command | RESPONSE, one.sequence))

    async def _next(self) -> Frame:
        while not self._read:
            data = await self._reader.read(65536)
            if not data:
                raise EOFError
            self._read.extend(self._splitter.feed(data))
        return self._read.pop(0)


def _say(way: str, one: Frame) -> None:
    plain = one.command & ~RESPONSE
    name = Command(plain).name.lower() if plain in set(Command) else f"command 0x{plain:x}"
    response = "_resp" if one.command & RESPONSE else ""
    click.echo(f"{way} {name}{response} #{one.sequence}, status {_status(one.status)}, {len(one.body)} octets")


def _status(status: int) -> str:
    name = f" ({Status(status).name.lower().replace('_', ' ')})" if status in set(Status) else ""
    return f"0x{status:02x}{name}"
