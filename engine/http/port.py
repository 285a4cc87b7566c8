"""What the connections of one HTTP listener share: limits, how many they are, and the date of their answers."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from uvicorn.server import ServerState

from engine.channels.base import HttpEndpoint
from engine.core.model.settings import Fixed, Positive, Section
from engine.core.ports.observing import Observer
from engine.core.ports.store import Lease


@dataclass(frozen=True, kw_only=True)
class PortSettings(Section):
    """How the connections of a port behave."""

    max_http_connections: Positive = 4000
    """Connections of listen at a time; one more is answered 503 and closed. Those of operations_listen count apart."""
    head_seconds: Fixed[float] = 20.0
    """From the first byte of a request to the end of its head."""
    body_seconds: Fixed[float] = 20.0
    """From there to the end of its body, and a second more for each `body_rate` bytes that came."""
    body_rate: Fixed[int] = 500
    """Slowest pace of a body, bytes a second."""
    tick_seconds: Fixed[float] = 5.0
    """How often a connection looks at the clock, at least."""


class HttpPort:
    """What the connections of one listener share."""

    def __init__(
        self,
        observer: Observer,
        *,
        endpoint: HttpEndpoint | None = None,
        settings: PortSettings | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Answer webhooks through an endpoint where there is one; all else is the ASGI application's.

        The lease, if there is one, is asked before answers to webhooks leave.
        """
        self.lease = lease
        self.endpoint = endpoint
        self.paths: Mapping[bytes, bytes] = {} if endpoint is None else endpoint.paths
        self.most_body_bytes = 0 if endpoint is None else endpoint.max_body_bytes
        self.settings = settings or PortSettings()
        self.observer = observer
        self.open: set[Hashable] = set()
        """Connections that were let in."""
        self.rejected: set[Hashable] = set()
        """Connections that are being told that there is no room."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._date = b"\r\n"

    @property
    def connections(self) -> int:
        """Count the open connections, without those that are rejected."""
        return len(self.open)

    def line_end(self, state: ServerState) -> bytes:
        """Return the end of a status line with the Date behind it, which the server writes anew each second."""
        if state.default_headers is not self._headers:
            self._headers = state.default_headers
            self._date = b"\r\n" + b"".join(b"%b: %b\r\n" % header for header in self._headers)
        return self._date
