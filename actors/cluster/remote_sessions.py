"""The sessions that other hosts coordinate, as this one knows them: a replica of each host's."""

from actors.cluster.replica import BindingReplica
from actors.control.routes import Place
from engine.core.sessions.bindings import ActiveSession


class RemoteSessions:
    """Finds the replica of a service; a host that is alone has none."""

    def __init__(self, place: Place) -> None:
        """Know nothing yet: the node adds a replica for each other host."""
        self.replicas: dict[int, BindingReplica] = {}
        """By the place of the host that coordinates."""
        self._place = place

    def replica_of(self, service_sid: str) -> BindingReplica | None:
        """Return the replica of the sessions of a service; None for one that is coordinated here."""
        return self.replicas.get(self._place(service_sid)) if self.replicas else None

    def touched(self, session: ActiveSession, at: float) -> None:
        """Have a session's coordinator know what passed here."""
        replica = self.replica_of(session.service_sid)
        if replica is not None:
            replica.touch(session, at)

    def service_gone(self, service_sid: str) -> None:
        """Forget the sessions of an erased service."""
        replica = self.replica_of(service_sid)
        if replica is not None:
            replica.service_erased(service_sid)
