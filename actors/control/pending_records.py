"""Records of accounts that are kept beside the hot path: they wait, and many are committed at once."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Account

MOST_PENDING = 5_000
"""Records of a kind that wait for the next commit; more are not kept."""


class OfAccount(Protocol):
    """A record that is erased with its account."""

    @property
    def account_sid(self) -> str:
        """Tell whose it is, AC…."""


Record = TypeVar("Record", bound=OfAccount)


class PendingRecords(Generic[Record]):
    """The records of one kind that wait."""

    def __init__(
        self, write: Callable[[Sequence[Record]], Awaitable[None]], *, account: Callable[[str], Account | None]
    ) -> None:
        """Have them committed by `write`, which raises StoreUnavailable."""
        self._write = write
        self._account = account
        self._records: list[Record] = []

    def __len__(self) -> int:
        """Count them."""
        return len(self._records)

    @property
    def is_full(self) -> bool:
        """Tell whether no more is to be added before the next commit."""
        return len(self._records) >= MOST_PENDING

    def add(self, record: Record) -> None:
        """Have one wait."""
        self._records.append(record)

    async def flush(self) -> None:
        """Commit those that wait, but of accounts that were deleted meanwhile; what the disk refuses waits on."""
        records = [one for one in self._records if self._account(one.account_sid) is not None]
        self._records = []
        if not records:
            return
        try:
            await self._write(records)
        except StoreUnavailable:
            self._records = [*records, *self._records][:MOST_PENDING]
            raise
