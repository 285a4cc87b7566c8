"""When sessions expire: a queue that the host's sweep asks for what is due.

A session is queued once. Traffic moves its end without touching the queue; when its turn comes too early, it is
queued again for the later end.
"""

import heapq
from collections.abc import Iterator

from engine.core.sessions.bindings import ActiveSession

FEWEST_STALE = 256
"""Entries that are not worth tidying up."""


class ExpiryQueue:
    """Active sessions with an end, soonest first; what no longer counts takes no more room than what does."""

    def __init__(self) -> None:
        """Start empty."""
        self._heap: list[tuple[float, int, ActiveSession]] = []
        self._looks = 0
        self._stale = 0

    def __len__(self) -> int:
        """Count the entries, stale ones too."""
        return len(self._heap)

    def watch(self, session: ActiveSession) -> None:
        """Look at the session no later than its end; to be called again whenever its end may have moved nearer."""
        end = session.expires_at
        if end is not None and not 0 < session.swept_at <= end:
            self.look_again(session, at=end)

    def look_again(self, session: ActiveSession, *, at: float) -> None:
        """Look at the session at that time, and no longer at the time queued before."""
        self.forget(session)
        session.swept_at = at
        self._looks += 1  # sessions with one end come in this order and are not compared
        heapq.heappush(self._heap, (at, self._looks, session))

    def forget(self, session: ActiveSession) -> None:
        """Look at the session no more; it may have ended long before its time."""
        if not session.swept_at:
            return
        session.swept_at = 0.0
        self._stale += 1
        if self._stale > max(FEWEST_STALE, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].swept_at]
            heapq.heapify(self._heap)
            self._stale = 0

    def due(self, now: float) -> Iterator[ActiveSession]:
        """Take out the bound sessions whose end has come."""
        while self._heap and self._heap[0][0] <= now:
            at, _, session = heapq.heappop(self._heap)
            if at != session.swept_at:
                self._stale -= 1
                continue  # queued again since, for an earlier or a later look
            session.swept_at = 0.0
            if not session.is_bound:
                continue
            if session.is_expired(now):
                yield session
            else:
                self.watch(session)
