"""Where peers bind to us over SMPP, and to whom we bind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

from engine.channels.carrier_tables import CarriersSettings
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.tables import PeerTable, peers_of, smpp_peer_lines, with_password
from engine.channels.sockets import ListenAddress
from engine.core.model.settings import BadSecret, Misfit, Positive, Tables


@dataclass(frozen=True, kw_only=True)
class SmppSettings(CarriersSettings):
    """What the channels of SMPP read."""

    smpp_listen: ListenAddress | None = None
    """host:port where the peers of role smsc bind to us; empty = nowhere, port 0 picks a free one."""
    smpp_tls_listen: ListenAddress | None = None
    """The same over TLS from the first octet, with smpp_tls_certificate and smpp_tls_key."""
    smpp_tls_certificate: str = ""
    """PEM file of the certificate chain of smpp_tls_listen; read again when it changes."""
    smpp_tls_key: str = ""
    """PEM file of the key of that certificate."""
    max_smpp_connections: Positive = 1000
    """Connections of smpp_listen and smpp_tls_listen at a time; one more ends the oldest that is not bound."""
    smpp_peers: Annotated[tuple[SmppPeer, ...], Tables(dict[str, PeerTable], peers_of, smpp_peer_lines)] = ()
    """Who speaks SMPP with us, for messages in and out; a table [smpp_peers.NAME] each (docs/smpp.md)."""

    @property
    def smpp_listens(self) -> bool:
        """Whether peers can bind to us."""
        return self.smpp_listen is not None or self.smpp_tls_listen is not None

    def sender_names(self) -> tuple[str, ...]:
        """Name the peers too."""
        return (*super().sender_names(), *(peer.name for peer in self.smpp_peers))

    def misfits(self) -> Iterator[Misfit]:
        """Find peers that cannot bind to us, and names that mean two."""
        yield from super().misfits()
        yield from self._certificate_misfits("smpp_tls")
        if self.smpp_tls_listen is not None and not self.smpp_tls_certificate:
            yield Misfit("smpp_tls_listen", "smpp_tls_certificate is needed with it")
        for peer in self.smpp_peers:
            if any(carrier.name == peer.name for carrier in self.carriers):
                yield Misfit("smpp_peers", f"smpp_peers.{peer.name} has the name of a carrier")
            if peer.outbind and not self.smpp_listens:
                yield Misfit("smpp_peers", f"smpp_peers.{peer.name}.outbind needs smpp_listen")
            if not peer.is_esme and (self.smpp_tls_listen is None if peer.tls else not self.smpp_listens):
                where = "smpp_tls_listen" if peer.tls else "smpp_listen"
                yield Misfit("smpp_peers", f"smpp_peers.{peer.name} binds to us, but {where} is empty")

    def with_secrets(self, environ: Mapping[str, str]) -> Self:
        """Read the passwords of peers."""
        known = super().with_secrets(environ)
        try:
            return replace(known, smpp_peers=tuple(with_password(peer, environ) for peer in known.smpp_peers))
        except ValueError as problem:
            raise BadSecret("smpp_peers", str(problem)) from problem
