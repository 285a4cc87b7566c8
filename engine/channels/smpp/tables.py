"""The tables `[smpp_peers.NAME]` of the settings file, and where their passwords are read from.

Whatever is wrong is a ValueError that names the field and never a password.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.channels.clients import TWIML
from engine.channels.smpp.peers import SmppPeer, check_password, checked
from engine.core.model.settings import Quoted, in_words

PeerTable = dict[str, Any]
"""One table as it stands in the file."""

LISTENER = "smpp"
"""Name of the channel of all peers that bind to us."""

_HIDDEN = frozenset({"name", "password"})


def peers_of(tables: Mapping[str, PeerTable]) -> tuple[SmppPeer, ...]:
    """Read all tables; passwords that are kept elsewhere are not read yet."""
    peers = tuple(_peer_of(name, table) for name, table in tables.items())
    bound_by: dict[str, str] = {}
    for peer in peers:
        if not peer.is_esme and (other := bound_by.setdefault(peer.system_id, peer.name)) != peer.name:
            raise ValueError(f"smpp_peers.{other} and smpp_peers.{peer.name} have the same system_id")
    return peers


def with_password(peer: SmppPeer, environ: Mapping[str, str]) -> SmppPeer:
    """Read a password that a table keeps in a file or a variable."""
    if peer.password:
        return peer
    where = f"file {peer.password_file}" if peer.password_file else f"variable {peer.password_variable}"
    field, file = f"smpp_peers.{peer.name}.password", peer.password_file
    try:
        text = Path(file).expanduser().read_text("utf-8-sig") if file else environ.get(peer.password_variable, "")
    except OSError as problem:
        raise ValueError(f"{field}: cannot read the {where}: {problem.strerror}") from problem
    password = text.strip()
    if not password:
        raise ValueError(f"{field}: the {where} holds nothing")
    check_password(password, field=field)
    return msgspec.structs.replace(peer, password=password)


def smpp_peer_lines(peers: tuple[SmppPeer, ...], quoted: Quoted) -> Iterator[str]:
    """Write the tables as lines of TOML, passwords left out; `quoted` writes a text."""
    for peer in peers:
        yield from _lines(peer, quoted)


def _lines(peer: SmppPeer, quoted: Quoted) -> Iterator[str]:
    yield f"[smpp_peers.{quoted(peer.name)}]"
    for field, value in msgspec.to_builtins(peer).items():
        if field in _HIDDEN or value in (None, "", []):
            continue
        yield f"{field} = {quoted(value) if isinstance(value, str) else json.dumps(value)}"
    if peer.password and not peer.password_file and not peer.password_variable:
        yield "# password is not shown"


def _peer_of(name: str, table: PeerTable) -> SmppPeer:
    if name in {"", TWIML, LISTENER}:
        raise ValueError(f"{name!r} cannot be the name of a peer")
    if "name" in table:
        raise ValueError(f"smpp_peers.{name} has the unknown field name")
    try:
        return checked(msgspec.convert({**table, "name": name}, SmppPeer))
    except msgspec.ValidationError as problem:
        raise ValueError(in_words(problem, f"smpp_peers.{name}")) from problem
    except ValueError as problem:
        raise ValueError(f"smpp_peers.{name}.{problem}") from problem
