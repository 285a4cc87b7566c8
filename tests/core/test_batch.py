"""Which items of a batch wait for which."""

import random

from hypothesis import given
from hypothesis import strategies as st

from engine.core.sessions.batch import Lanes

THINGS = st.frozensets(st.sampled_from(["anna", "bert", "cleo", b"key"]), max_size=2)


@given(st.lists(st.tuples(THINGS, THINGS), max_size=12), st.integers())
def test_what_is_held_alone_is_touched_by_one_item_at_a_time_in_their_order(
    items: list[tuple[frozenset[str | bytes], frozenset[str | bytes]]], seed: int
) -> None:
    """And what is shared is touched in order, whichever item takes longest; every item has its turn."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    lanes = Lanes()
    ready = [index for index, (shared, alone) in enumerate(items) if lanes.add(shared=shared, alone=alone)]
    running: list[int] = []
    begun: list[int] = []
    done: set[int] = set()

    while ready or running:
        if ready and (not running or dice.random() < 0.6):
            index = ready.pop(0)
            for other, (shared, alone) in enumerate(items[:index]):
                if alone & (items[index][0] | items[index][1]) or shared & items[index][1]:
                    assert other in done
                elif shared & items[index][0]:
                    assert other in begun
            begun.append(index)
            running.append(index)
            ready += lanes.begun(index)
        else:
            index = running.pop(dice.randrange(len(running)))
            done.add(index)
            ready += lanes.done(index)

    assert sorted(done) == list(range(len(items)))


def test_items_that_touch_nothing_in_common_wait_for_none() -> None:
    """They may all begin at once."""
    lanes = Lanes()

    assert [lanes.add(shared={f"person {n}"}, alone={f"name {n}"}) for n in range(3)] == [True] * 3


def test_sessions_made_for_one_person_begin_one_after_the_other_without_waiting_for_their_end() -> None:
    """So that they share a commit."""
    lanes = Lanes()
    lanes.add(shared={"anna"})
    lanes.add(shared={"anna"})

    assert lanes.begun(0) == [1]
    assert lanes.done(0) == []


def test_a_session_made_for_somebody_waits_for_the_end_of_the_change_that_frees_their_number() -> None:
    """And the change waits for the end of what was made before it."""
    lanes = Lanes()
    lanes.add(shared={"anna", "bert"})
    lanes.add(alone={"anna", "a session"})
    lanes.add(shared={"anna"})

    assert lanes.begun(0) == []
    assert lanes.done(0) == [1]
    assert lanes.begun(1) == []
    assert lanes.done(1) == [2]
