"""What peers send over any socket, handed on within their rate; strangers are counted. mypyc compiles this."""

import logging
from collections.abc import Callable
from typing import final

from engine.channels.log_limit import LogLimit
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.switches import Arrival
from engine.core.ports.observing import SipObserver, SipProblem
from engine.core.ports.operations import Clock

_log = logging.getLogger("maskline.sip")

NO_PEER = ""
"""Strangers, among the names of peers."""


@final
class Intake:
    """Takes the messages of all sockets of a server."""

    def __init__(
        self,
        redirector: Redirector,
        peers: Peers,
        *,
        observer: SipObserver,
        monotonic: Clock,
        turned: Callable[[], None],
    ) -> None:
        """Hand messages to a redirector; `turned` is called when all of one turn have been taken and answered."""
        self.peers = peers
        self.monotonic = monotonic
        self.turned = turned
        self.heard: dict[str, tuple[str, float]] = {}
        """By name of a peer where it was last heard from, and when by the monotonic clock; of strangers by none."""
        self.strangers = 0
        self._redirector = redirector
        self._observer = observer
        self._log_limit = LogLimit(monotonic)

    def take(self, data: bytes, arrival: Arrival, *, now: float) -> None:
        """Hand a message of a peer on, unless it asks too much."""
        try:
            if self.peers.may_ask(arrival.peer, now=now):
                self._redirector.take(data, arrival, now=now)
            else:
                self._observer.sip_dropped(SipProblem.TOO_MANY_REQUESTS)
                self._redirector.send_elsewhere(data, arrival, now=now)
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged, and the peer's timers go on
            _log.exception("A SIP message could not be answered")
            self._observer.sip_dropped(SipProblem.INTERNAL_ERROR)

    def hear(self, arrival: Arrival, *, now: float) -> None:
        """Note that a peer sent something."""
        self.heard[arrival.peer.name] = (arrival.source[0], now)

    def stranger(self, host: str) -> None:
        """Count a message or connection of no peer; one a minute is logged."""
        self._observer.sip_dropped(SipProblem.STRANGER)
        self.strangers += 1
        self.heard[NO_PEER] = (host, self.monotonic())
        if self._log_limit.may_log("stranger"):
            _log.warning("%s speaks SIP to us and is in the networks of no [sip_peers]: it gets no answer", host)
