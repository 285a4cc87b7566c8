"""What a cluster runs by: the operator's settings with every port chosen, as bytes, and each host's share of them."""

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.cluster.head import LOOPBACK
from engine.runtime import choose
from engine.settings import NODE_DATA_DIR_VARIABLE, SETTINGS, Settings, flag
from storage.sqlite.layout import host_dir

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - told apart, not bound


def encode_plan(settings: Settings) -> bytes:
    """Write settings down; carriers' tokens too."""
    return msgspec.json.encode(settings, enc_hook=str)


def decode_plan(plan: bytes) -> Settings:
    """Read what `encode_plan` wrote."""
    return msgspec.json.decode(plan, type=Settings, dec_hook=_decoded)


def _decoded(wanted: type, text: object) -> object:
    return wanted(text)


def settled(settings: Settings) -> Settings:
    """Choose what the settings leave open: free ports, the whole path of the data directory, and who this node is.

    Where hosts keep files, also the secret that they have in common: another one at each start of a cluster.

    Raises:
        CannotListen: a port is taken.
    """
    settings = as_node(settings)
    taken: set[int] = set()
    chosen: dict[str, Any] = {
        key: _settled(address, settings.hosts if SETTINGS[key].has_port_each else 1, taken, option=flag(key))
        for key, address in listen_addresses(settings).items()
    }
    secret = "" if settings.is_node else settings.peers_secret or secrets.token_hex()
    return replace(settings, data_dir=settings.data_dir.absolute(), peers_secret=secret, **chosen)


def as_node(settings: Settings) -> Settings:
    """Say who this machine is and where its hosts listen for others, where the settings leave that open."""
    if not settings.is_node:
        return replace(settings, peers_listen=settings.peers_listen or ListenAddress(_among_files(settings), 0))
    from storage.postgres.connections import address_towards  # noqa: PLC0415 - who keeps files needs none of it

    listen = settings.peers_listen
    address = "" if listen is None or listen.host in WILDCARDS else listen.host
    address = address or address_towards(settings.database_url)
    name = settings.node_name or socket.gethostname()
    return replace(settings, node_name=name, node_address=address, peers_listen=listen or ListenAddress(address, 0))


def _among_files(settings: Settings) -> str:
    """Return where hosts that keep files listen for each other: a Ray of our own is on one machine."""
    if not settings.ray_address:
        return LOOPBACK
    return "::" if settings.ray_address.startswith("[") else "0.0.0.0"  # noqa: S104 - any node may carry any of them


def listen_addresses(settings: Settings) -> dict[str, ListenAddress]:
    """Return where the settings listen, by their keys."""
    found = {key: getattr(settings, key) for key in SETTINGS}
    return {key: value for key, value in found.items() if isinstance(value, ListenAddress)}


def _settled(address: ListenAddress, count: int, taken: set[int], *, option: str) -> ListenAddress:
    """Return an address with `count` ports in a row that nothing uses, from its own port on or, for 0, from any."""
    first = address if address.port else _any_row(address.host, count, taken)
    for place in range(count):
        bind_tcp(beside(first, place), option=option).close()
    taken.update(range(first.port, first.port + count))
    return first


def _any_row(host: str, count: int, taken: set[int]) -> ListenAddress:
    while True:
        first = _PORTS.start + choose(len(_PORTS) - count)
        row = range(first, first + count)
        if taken.isdisjoint(row) and all(_is_free(host, port) for port in row):
            return ListenAddress(host, first)


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


_PORTS = range(20_000, 32_768)
"""Where open ports are chosen: no outgoing connection and nothing of Ray takes one of these while a host is down."""


def beside(address: ListenAddress, place: int) -> ListenAddress:
    """Return the address of the host at a place, where each has a port of its own."""
    return ListenAddress(address.host, address.port + place)


def reached_at(address: ListenAddress, node_address: str) -> ListenAddress:
    """Return an address that others can use, for one that may stand for all interfaces of a node."""
    return ListenAddress(node_address, address.port) if address.host in WILDCARDS else address


def node_data_dir(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cluster's data directory on the node where this is called."""
    return Path(environ.get(NODE_DATA_DIR_VARIABLE) or settings.data_dir)


def host_settings(settings: Settings, place: int, data_dir: Path) -> Settings:
    """Return the share of the host at a place: its directory, and the ports that are its own."""
    listening = listen_addresses(settings).items()
    own: dict[str, Any] = {key: beside(one, place) for key, one in listening if SETTINGS[key].has_port_each}
    return replace(settings, data_dir=host_dir(data_dir, place, settings.hosts), **own)
