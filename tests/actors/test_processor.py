"""What Linux tells of the time for which threads waited for a processor."""

import os
import threading
from pathlib import Path

from actors.cluster.processor import read_waits, starved_seconds


def test_every_thread_of_a_process_has_its_wait() -> None:
    """As /proc has them; a process that is no more has none."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait, args=(10,))
    thread.start()

    waits = read_waits(Path("/proc/self"))
    may_end.set()
    thread.join()

    assert {os.getpid(), thread.native_id} <= waits.keys()
    assert all(seconds >= 0 for seconds in waits.values())
    assert read_waits(Path("/proc/0")) == {}


def test_a_process_is_starved_as_long_as_the_thread_that_waited_longest() -> None:
    """Threads that have come or gone in between tell nothing."""
    assert starved_seconds({1: 2.0, 2: 5.0, 3: 0.0}, {1: 6.5, 2: 5.5, 4: 90.0}) == 4.5
    assert starved_seconds({1: 2.0}, {}) == starved_seconds({}, {1: 2.0}) == 0.0


def test_what_is_in_no_form_that_is_known_is_left_out(tmp_path: Path) -> None:
    """An old kernel, a thread that ends while it is looked at."""
    for thread, text in (("1", "5 2500000000 7\n"), ("2", "5\n"), ("3", "a b c\n")):
        (tmp_path / "task" / thread).mkdir(parents=True)
        (tmp_path / "task" / thread / "schedstat").write_text(text, "ascii")

    assert read_waits(tmp_path) == {1: 2.5}
