"""What a cluster runs by: the operator's settings with every port chosen, as bytes, and each host's share of them."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.runtime import choose
from engine.settings import NODE_DATA_DIR_VARIABLE, MaybeAddress, Settings
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
    """Choose what the settings leave open: free ports, and the data directory from the root of the file system.

    Raises:
        CannotListen: a port is taken.
    """
    taken: set[int] = set()
    listen = _settled(settings.listen, 1, taken, option="--listen")
    assert listen is not None  # noqa: S101 - given an address, it returns one
    return msgspec.structs.replace(
        settings,
        data_dir=settings.data_dir.absolute(),
        listen=listen,
        feed_listen=_settled(settings.feed_listen, settings.hosts, taken, option="--feed-listen"),
        sip_listen=_settled(settings.sip_listen, settings.hosts, taken, option="--sip-listen"),
        sip_tls_listen=_settled(settings.sip_tls_listen, settings.hosts, taken, option="--sip-tls-listen"),
        smpp_listen=_settled(settings.smpp_listen, 1, taken, option="--smpp-listen"),
        smpp_tls_listen=_settled(settings.smpp_tls_listen, 1, taken, option="--smpp-tls-listen"),
        operations_listen=_settled(settings.operations_listen, settings.hosts, taken, option="--operations-listen"),
    )


def _settled(address: MaybeAddress, count: int, taken: set[int], *, option: str) -> MaybeAddress:
    """Return an address with `count` ports in a row that nothing uses, from its own port on or, for 0, from any."""
    if address is None:
        return None
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
    own: Callable[[MaybeAddress], MaybeAddress] = lambda one: None if one is None else beside(one, place)  # noqa: E731
    return msgspec.structs.replace(
        settings,
        data_dir=host_dir(data_dir, place, settings.hosts),
        feed_listen=own(settings.feed_listen),
        sip_listen=own(settings.sip_listen),
        sip_tls_listen=own(settings.sip_tls_listen),
        operations_listen=own(settings.operations_listen),
    )
