"""Erasures that other hosts have still to carry out: a session's interactions lie with the owners of its numbers.

The erasure is committed with the deletion and removed when every other host has erased, so that one that is away, or an
end of this process, only delays it. It names the session and no host: after a move to other hosts it still holds.

Where all hosts see the same tables, the deletion itself erases what any of them has committed. Each is first asked to
settle what it is still committing of the session, which is withdrawn; only one that does not answer has to erase later.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final

from actors.control.remote import ForSessions
from actors.kernel.gathering import reason_of
from engine.core.model.changes import Change, ErasurePlanned, ErasuresSettled, SessionErased
from engine.core.model.errors import MasklineError, StoreUnavailable
from engine.core.ports.store import Store

ERASURES_AT_ONCE: Final = 1_000
"""Sessions that a host erases for one message."""

ERASE_SECONDS: Final = 1.0
"""How long a deletion waits for a host; what it has not erased by then it is asked for again."""

_log = logging.getLogger("maskline.host")


class Erasures:
    """The sessions that other hosts have not erased yet, as far as is known."""

    def __init__(
        self, store: Store, others: Mapping[int, ForSessions], *, settlers: Mapping[int, ForSessions] = {}
    ) -> None:
        """Owe nothing yet; without other hosts, what a move left to be done is done here alone.

        `others` erase, by host; those of `settlers` need not, once they have settled a session.
        """
        self._store = store
        self._others = others
        self._settlers = settlers
        self._pending: dict[int, set[str]] = {host: set() for host in others}
        self._is_read_back = False

    async def concerned(self, session_sid: str) -> tuple[int, ...]:
        """Return the hosts that have to erase a withdrawn session after its deletion; waits a moment only."""
        settled = await asyncio.gather(*(self._settled(host, session_sid) for host in self._others))
        return tuple(host for host, is_settled in zip(self._others, settled, strict=True) if not is_settled)

    def planned(self, session_sid: str, hosts: Collection[int]) -> tuple[Change, ...]:
        """Return what is committed beside the deletion of a session that concerns these hosts."""
        return (ErasurePlanned(session_sid),) if hosts else ()

    async def erase(self, session_sid: str, hosts: Collection[int]) -> None:
        """Have these hosts erase a session whose deletion is committed; waits a moment only."""
        for host in hosts:
            self._pending[host].add(session_sid)
        await asyncio.gather(*(self._erase(host, (session_sid,)) for host in hosts))

    async def pay(self) -> None:
        """Try again what has not been done, first what was pending when this process started."""
        if not self._is_read_back:
            await self._read_back()
        for host, pending in self._pending.items():
            if pending:
                await self._erase(host, tuple(islice(pending, ERASURES_AT_ONCE)))

    async def _read_back(self) -> None:
        left = await self._store.planned_erasures()
        if left:
            await self._store.write(tuple(map(SessionErased, left)))  # a move may have brought some into this file
        self._is_read_back = True
        for pending in self._pending.values():
            pending.update(left)
        self._settle(left)

    async def _settled(self, host: int, session_sid: str) -> bool:
        settle = self._settlers.get(host)
        if settle is None:
            return False
        try:
            async with asyncio.timeout(ERASE_SECONDS):
                await settle((session_sid,))
        except (MasklineError, TimeoutError) as problem:
            _log.info("Host %d has to erase session %s later: %s", host, session_sid, reason_of(problem))
            return False
        return True

    async def _erase(self, host: int, session_sids: tuple[str, ...]) -> None:
        try:
            async with asyncio.timeout(ERASE_SECONDS):
                await self._others[host](session_sids)
        except (MasklineError, TimeoutError) as problem:
            _log.info("Host %d has %d sessions to erase: %s", host, len(self._pending[host]), reason_of(problem))
        else:
            self._pending[host].difference_update(session_sids)
            self._settle(session_sids)

    def _settle(self, session_sids: Collection[str]) -> None:
        """Strike out what nobody owes any more; what cannot be committed now is found again at the next start."""
        settled = tuple(sid for sid in session_sids if not any(sid in pending for pending in self._pending.values()))
        if settled:
            self._store.commit((ErasuresSettled(settled),), _ignore)


def _ignore(problem: StoreUnavailable | None) -> None:
    del problem
