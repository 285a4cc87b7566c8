"""Since when the owner of each place cannot have renewed its lease, as a node knows that reads the rows all along.

An owner renews its lease by commits to its row, each of which shows there, and whoever takes the place leaves what it
showed. If that is still what was read before, there was no renewal between: the last one had begun before that reading,
although the place was taken later. Clocks of machines are not compared.
"""

from collections.abc import Iterable

import msgspec

from engine.core.ports.membership import PlaceRow, PlaceState


class _Seen(msgspec.Struct, frozen=True):
    """A row as it was read."""

    row: PlaceRow
    renewed_by: float


class Renewals:
    """Remembers what each row showed, and when that was read first."""

    def __init__(self) -> None:
        """Begin with rows that are new: their owners may have renewed until now."""
        self._seen: dict[int, _Seen] = {}

    def take(self, rows: Iterable[PlaceRow], now: float) -> None:
        """Take what was read by a time of the steady clock."""
        self._seen = {row.place: _Seen(row, self._renewed_by(row, now)) for row in rows}

    def __getitem__(self, place: int) -> float:
        """Return by when the last renewal had begun, of the owner of a place that was taken, or that still has it."""
        return self._seen[place].renewed_by

    def _renewed_by(self, row: PlaceRow, now: float) -> float:
        seen = self._seen.get(row.place)
        return now if seen is None or _may_be_renewed(seen.row, row) else seen.renewed_by


def _may_be_renewed(before: PlaceRow, row: PlaceRow) -> bool:
    """Tell whether an owner may have renewed its lease between two readings; one that starts anew has another epoch."""
    if (row.attached, row.group_no) != (before.attached, before.group_no):
        return True
    was_only_taken = row.epoch == before.epoch + 1 and row.state is PlaceState.TAKEN and row.node != before.node
    return row.epoch != before.epoch and not was_only_taken
