"""What a store of any kind can say of changes that it did not commit.

StoreUnavailable        (core) nothing was committed, or read
├── StoreLost           it does not come back by itself
└── ChangeRefused       one changeset contradicts what is stored: our bug, the rest of its group was committed
"""

from engine.core.model.errors import StoreUnavailable


class StoreLost(StoreUnavailable):
    """Nothing is committed any more by this process; the message says why and what to do."""


class ChangeRefused(StoreUnavailable):
    """A changeset could not be applied, by itself: a duplicate or a malformed value; nothing of it was committed."""

    @classmethod
    def because(cls, what: str) -> "ChangeRefused":
        """Name the constraint or the kind of error; never the values, which may be phone numbers."""
        return cls(f"Nothing of this change was saved, it contradicts what is stored: {what}")
