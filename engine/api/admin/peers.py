"""The admin API's report of peers: who is bound over SMPP, and which switches ask over SIP.

GET    /smpp/peers                                     200 SmppPeerList     of the host that is asked
GET    /sip/peers                                      200 SipPeerList      of all hosts
"""

from collections.abc import Iterable

import msgspec
from starlette.requests import Request

from engine.core.model.overview import ConsolePlane, PeerState
from engine.core.ports.operations import ControlPlane
from engine.formats.values import optional_date


class SmppPeerShape(msgspec.Struct, frozen=True):
    """One SMPP peer, as the host that was asked sees it."""

    name: str
    role: str
    bound_connections: int
    can_send: bool
    is_slowed: bool
    """It asked to be sent less."""
    waiting_parts: int
    """Of long messages."""
    problem: str
    """Why its last connection failed or ended, or where its connections are."""


class SmppPeerList(msgspec.Struct, frozen=True):
    """All SMPP peers."""

    peers: tuple[SmppPeerShape, ...]


class SipPeerShape(msgspec.Struct, frozen=True, kw_only=True):
    """One SIP peer as one host sees it, or all strangers."""

    host: str
    name: str
    """As in the settings; empty for strangers, who get no answer."""
    address: str
    """Where it was last heard from."""
    heard_at: str | None
    """When; None = never."""
    answers: dict[str, int]
    """How many it got since the host started, by status."""
    refused: int
    """How many of them refused, 4xx and 6xx; of strangers the messages and connections."""
    problem: str


class SipPeerList(msgspec.Struct, frozen=True):
    """All SIP peers of all hosts."""

    peers: tuple[SipPeerShape, ...]
    silent: tuple[str, ...]
    """Hosts that did not answer, of which nothing is told."""


def smpp_peers_of(peers: Iterable[PeerState]) -> list[SmppPeerShape]:
    """Return how the SMPP peers fare."""
    names = SmppPeerShape.__struct_fields__
    return [SmppPeerShape(*(getattr(one, name) for name in names)) for one in peers if one.protocol == "smpp"]


async def list_sip_peers(plane: ConsolePlane, _: ControlPlane, __: Request) -> SipPeerList:
    """Tell how the SIP peers fare on each host."""
    hosts = await plane.hosts()
    return SipPeerList(
        tuple(_sip_peer(host.name, one) for host in hosts for one in host.figures.peers if one.protocol == "sip"),
        tuple(host.name for host in hosts if not host.is_answering),
    )


def _sip_peer(host: str, peer: PeerState) -> SipPeerShape:
    return SipPeerShape(
        host=host,
        name=peer.name,
        address=peer.address,
        heard_at=optional_date(peer.heard_at),
        answers=dict(peer.answers),
        refused=peer.refused,
        problem=peer.problem,
    )
