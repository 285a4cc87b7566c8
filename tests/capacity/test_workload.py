"""Workloads: the same for a seed, with the shares that were asked for, and endings that a real engine agrees with."""

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from engine.api.batch_shapes import BatchForm, read_items
from engine.capacity.files import WorkloadFiles
from engine.capacity.workload import Arrivals, Workload, arrivals, batch_items, check, pairs, proxy_numbers
from engine.channels.feed.frames import Refusal
from engine.channels.feed.records import read_lines
from engine.cli import main
from engine.core.routing.traffic import Outcome, Reason

SMALL = Workload(sessions=100, numbers=10, events=5_000)


def endings(workload: Workload) -> Counter[str]:
    return Counter(one.ending for one in arrivals(workload))


def test_the_same_seed_makes_the_same_events() -> None:
    """And another one others."""
    assert list(arrivals(SMALL)) == list(arrivals(SMALL))
    assert list(arrivals(SMALL)) != list(arrivals(msgspec.structs.replace(SMALL, seed=2)))


def test_every_event_can_be_read_and_every_session_made() -> None:
    """By the readers of `maskline feed` and `maskline sessions batch`."""
    lines = [msgspec.json.encode({**one.record, "at": one.at}) for one in arrivals(SMALL)]
    items = b"\n".join(map(msgspec.json.encode, batch_items(SMALL)))

    records = list(read_lines(lines))

    assert not any(isinstance(record.event, Refusal) for record in records)
    assert [record.at for record in records] == [one.at for one in arrivals(SMALL)]
    assert len(list(read_items(items, BatchForm.LINES))) == 100


def test_the_shares_are_those_that_were_asked_for() -> None:
    """Within what chance allows."""
    wanted = Workload(sessions=100, numbers=10, events=20_000, misses=0.1, expired=0.05, wrong_mode=0.05, opt_out=0.0)

    found = Counter(one.reason for one in arrivals(wanted))

    assert found[Reason.NO_SESSION] / 20_000 == pytest.approx(0.1, rel=0.1)
    assert found[Reason.SESSION_EXPIRED] / 20_000 == pytest.approx(0.05, rel=0.15)
    narrow = found[Reason.CALL_TO_MESSAGE_ONLY] + found[Reason.MESSAGE_TO_VOICE_ONLY]
    assert narrow / 20_000 == pytest.approx(0.05, rel=0.15)
    assert found[Reason.STOP_WORD] == 0


def test_skew_makes_some_sessions_busier_than_others() -> None:
    """With 0 all are alike."""

    def busiest(skew: float) -> int:
        wanted = msgspec.structs.replace(SMALL, skew=skew, misses=0.0)
        return max(Counter(one.record["sender"] for one in arrivals(wanted)).values())

    assert busiest(1.2) > 5 * busiest(0.0)


@pytest.mark.parametrize("process", Arrivals)
def test_events_come_in_order_and_at_the_rate(process: Arrivals) -> None:
    """On average, over enough of them."""
    wanted = Workload(sessions=10, numbers=2, events=10_000, rate=500.0, arrivals=process)

    times = [one.at for one in arrivals(wanted)]

    assert times == sorted(times)
    assert 10_000 / times[-1] == pytest.approx(500.0, rel=0.3)


def test_no_number_is_shared_by_the_partners_of_a_session() -> None:
    """So that each session has two."""
    numbers = set(proxy_numbers(SMALL))

    assert {proxy for pair in pairs(SMALL) for _, proxy in pair.endpoints} <= numbers
    assert all(len({proxy for _, proxy in pair.endpoints}) == 2 for pair in pairs(SMALL))


def test_endings_count_all_events() -> None:
    """By the name that the report of a feed gives them."""
    found = endings(SMALL)

    assert found.total() == 5_000
    assert found[f"{Outcome.ROUTED} {Reason.IN_SESSION}"] > 4_000


@pytest.mark.parametrize(
    "wanted",
    [
        Workload(misses=1.1),
        Workload(misses=0.5, expired=0.5, wrong_mode=0.1),
        Workload(numbers=1),
        Workload(sessions=2),
        Workload(rate=0.0),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused(wanted: Workload) -> None:
    """Before anything is made."""
    with pytest.raises(ValueError, match=r"\w"):
        check(wanted)


TINY = Workload(sessions=40, numbers=6, events=600, rate=2_000, misses=0.1, expired=0.1, wrong_mode=0.1, opt_out=0.1)


def test_the_demo_plays_a_workload_and_tells_whether_it_ended_as_it_says(tmp_path: Path) -> None:
    """Exit code 1 where it did not."""
    files = WorkloadFiles(tmp_path)
    files.write(TINY)
    played = CliRunner().invoke(main, ["demo", "--workload", str(tmp_path), "--json"])
    (tmp_path / "expected.json").write_text(json.dumps({"routed in-session": 600}), "ascii")
    differs = CliRunner().invoke(main, ["demo", "--workload", str(tmp_path)])

    told = json.loads(played.stdout)
    assert (played.exit_code, told["sessions"]) == (0, 40)
    assert told["feed"]["endings"] == dict(endings(TINY))
    assert differs.exit_code == 1
    assert "the endings differ" in differs.output
    assert "No active Session" not in differs.output, "what is logged goes to a file"


def test_a_directory_that_is_no_workload_is_refused(tmp_path: Path) -> None:
    """With the name of what is missing."""
    refused = CliRunner().invoke(main, ["demo", "--workload", str(tmp_path)])

    assert refused.exit_code == 2
    assert "expected.json" in refused.output
