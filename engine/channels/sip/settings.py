"""Where SIP is spoken, and with whom."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from engine.channels.carrier_tables import CarriersSettings
from engine.channels.sip.tables import SipPeerSettings, SipPeerTables, sip_peer_lines, sip_peers_of
from engine.channels.sockets import ListenAddress
from engine.core.model.settings import PORT_EACH, Misfit, Positive, Seconds, Tables


@dataclass(frozen=True, kw_only=True)
class SipSettings(CarriersSettings):
    """What the SIP channel reads."""

    sip_listen: Annotated[ListenAddress | None, PORT_EACH] = None
    """host:port of SIP over UDP and TCP, for the switches in [sip_peers]; empty = none, port 0 picks a free one."""
    sip_tls_listen: Annotated[ListenAddress | None, PORT_EACH] = None
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
    sip_peers: Annotated[tuple[SipPeerSettings, ...], Tables(SipPeerTables, sip_peers_of, sip_peer_lines)] = ()
    """Which switches may ask over SIP; a table [sip_peers.NAME] each (docs/sip.md). Without any, nothing listens."""

    def misfits(self) -> Iterator[Misfit]:
        """Find what the listener over TLS lacks."""
        yield from super().misfits()
        yield from self._certificate_misfits("sip_tls")
        plain, tls = self.sip_listen, self.sip_tls_listen
        if tls is not None and not self.sip_tls_certificate:
            yield Misfit("sip_tls_listen", "sip_tls_certificate and sip_tls_key are needed with it")
        elif plain and tls and plain.port and tls.port and abs(plain.port - tls.port) < self.hosts:
            yield Misfit("sip_tls_listen", "host N takes the port plus N, and sip_listen has some of those ports")
        named = next((one.name for one in self.sip_peers if one.tls_names), None)
        if named is not None and not (tls and self.sip_tls_authorities):
            yield Misfit("sip_peers", f"sip_peers.{named}.tls_names needs sip_tls_listen and sip_tls_authorities")

    def warnings(self) -> Iterator[str]:
        """Say that nobody may ask."""
        yield from super().warnings()
        if (self.sip_listen or self.sip_tls_listen) and not self.sip_peers:
            yield "SIP is not served: no table [sip_peers.NAME] says who may ask"
