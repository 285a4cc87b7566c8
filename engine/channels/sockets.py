"""The addresses and TCP sockets that channels listen on."""

import socket
from typing import NamedTuple, Self

from engine.core.model.errors import MasklineError

_LAST_PORT = 65535
_TRIES = 20
"""Of finding a port that is free for both TCP and UDP."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound


class CannotListen(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A socket cannot be bound; the message says which and why."""


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
        if not colon or not host or not (port.isascii() and port.isdecimal()):
            raise ValueError("expected host:port")
        if int(port) > _LAST_PORT:
            raise ValueError(f"the last port is {_LAST_PORT}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def bind_tcp(address: ListenAddress, *, option: str = "--listen", is_shared: bool = False) -> socket.socket:
    """Take a port, which the option names, or a share of it (the kernel spreads connections over its holders).

    Raises:
        CannotListen: it is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((address.host, address.port))
    except OSError as failure:
        bound.close()
        raise CannotListen(
            f"cannot listen on {address}: {failure.strerror}; choose another address with {option}"
        ) from failure
    return bound


def bind_sip(address: ListenAddress, *, option: str) -> tuple[socket.socket, socket.socket]:
    """Take a port for TCP and for UDP, the same for both; the TCP socket is first.

    Raises:
        CannotListen: one of them is taken, or not ours to take.
    """
    problem = ""
    for _ in range(_TRIES):
        stream = bind_tcp(address, option=option)
        datagrams = socket.socket(stream.family, socket.SOCK_DGRAM)
        try:
            datagrams.bind(stream.getsockname()[:2])
        except OSError as failure:
            stream.close()
            datagrams.close()
            problem = str(failure.strerror)
            if address.port:
                break
        else:
            return stream, datagrams
    raise CannotListen(f"cannot listen on {address} over UDP: {problem}; choose another address with {option}")


def reached_at(bound: socket.socket) -> ListenAddress:
    """Return where a bound socket is reached from this machine."""
    host, port = bound.getsockname()[:2]
    return ListenAddress(_WILDCARDS.get(host, host), port)
