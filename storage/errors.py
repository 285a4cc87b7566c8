"""What can go wrong with any store.

MasklineError
├── DatabaseTooNew      a newer version wrote the database
├── MoveRefused         something is to be put right before data can be moved: nothing was changed
├── OutcomeUnknown      the process ends before it is known whether its last changes were committed
└── StoreUnavailable    (core) the disk, or the database, refused: nothing was committed, or read
    ├── Interrupted     nothing was committed, and the same may be tried again at once
    └── StoreLost       it does not come back by itself
"""

from pathlib import Path

from engine.core.model.errors import MasklineError, StoreUnavailable


class DatabaseTooNew(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The database carries migrations that this version does not know."""

    def __init__(self, database: Path | str, unknown: tuple[str, ...]) -> None:
        """Name the file, or the database, and the migrations."""
        super().__init__(
            f"The database {database} was written by a newer version of Maskline (it has {', '.join(unknown)}); "
            "install that version or restore a backup made before the upgrade"
        )
        self.unknown = unknown


class MoveRefused(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The data cannot be moved as things are; the message says what to put right. Nothing was changed."""


class OutcomeUnknown(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Whether the last changes were committed is not known, and is not waited for any longer: nobody is answered."""


class Interrupted(StoreUnavailable):
    """The connection ended before the commit, and there is another one by now."""


class StoreLost(StoreUnavailable):
    """Nothing is committed any more by this process; the message says why and what to do."""
