"""By when the owner of a place that was taken had renewed its lease last: never told too early, whatever is missed."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.cluster.leases import Renewals
from engine.core.ports.membership import PlaceRow, PlaceState

NODES = "abc"

steps = st.lists(
    st.tuples(st.sampled_from(["renew", "attach", "start", "begin", "take", "give", "read"]), st.floats(0.01, 3.0)),
    max_size=40,
)


@given(steps)
def test_no_owner_has_renewed_later_than_is_told(history: list[tuple[str, float]]) -> None:
    """Processes start, renew, give over and lose the place, and a reader sees some of that."""
    now, row, has_process = 0.0, PlaceRow(place=0, epoch=1, attached=1, node="a", state=PlaceState.HELD), True
    renewed_at, renewals = 0.0, Renewals()
    for what, seconds in history:
        now += seconds
        changes: dict[str, object] = {}
        match what:
            case "renew" if has_process and row.attached:
                changes = {"group_no": row.group_no + 1}
            case "attach" if has_process:
                changes = {"attached": row.attached + 1}
            case "start":
                changes, has_process = {"epoch": row.epoch + 1, "attached": 0}, True
            case "begin" if has_process and row.attached:
                changes = {"state": PlaceState.HELD}
            case "take" | "give":
                other = NODES[(NODES.index(row.node or "a") + (what == "take")) % len(NODES)]
                state = PlaceState.TAKEN if row.state else PlaceState.FREE
                changes, has_process = {"epoch": row.epoch + 1, "node": other, "state": state}, False
            case "read":
                renewals.take([row], now)
                assert renewals[0] >= renewed_at
            case _:
                pass
        if what in {"renew", "attach"} and changes:
            renewed_at = now
        row = msgspec.structs.replace(row, **changes)


def test_silence_before_the_loss_counts() -> None:
    """Or whoever takes a place would wait for a lease that has been over for long."""
    renewals = Renewals()
    held = PlaceRow(place=0, epoch=1, attached=1, group_no=7, node="a", state=PlaceState.HELD)
    renewals.take([held], 10.0)
    renewals.take([held], 13.0)

    renewals.take([msgspec.structs.replace(held, epoch=2, node="b", state=PlaceState.TAKEN)], 13.5)

    assert renewals[0] == 10.0


def test_a_process_that_starts_anew_has_renewed_its_lease() -> None:
    """Although its row shows as many connections and groups as that of the one before."""
    renewals = Renewals()
    taken = PlaceRow(place=0, epoch=1, attached=1, group_no=7, node="a", state=PlaceState.TAKEN)
    renewals.take([taken], 10.0)

    renewals.take([msgspec.structs.replace(taken, epoch=2)], 13.5)

    assert renewals[0] == 13.5
