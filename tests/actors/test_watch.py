"""What the supervisor makes of a host that answers or does not, and where it lets one run."""

import msgspec
import pytest

from actors.cluster.watch import (
    STARVED,
    Act,
    HostReport,
    Member,
    Node,
    NoNode,
    Patience,
    Placed,
    Sign,
    advanced,
    choose_node,
    empty_record,
    heard,
    launched,
    missed,
    unplaced,
)
from engine.core.model.hosts import HostAddress, HostDirectory, HostState

METRICS = "http://10.0.0.1:9101"
PATIENCE = Patience(silence_seconds=5.0, start_seconds=60.0)
READY = HostReport(place=1, state=HostState.READY, pid=7, node="n1", node_address="10.0.0.1", feed="10.0.0.1:9001")


def ready_since(now: float) -> Member:
    return heard(Member(place=1), READY, now)


def test_a_host_that_answers_is_as_it_says() -> None:
    """State, node and problem are the report's; the state's age is kept while it lasts."""
    first = ready_since(10.0)

    later = heard(first, READY, 20.0)

    assert (later.state, later.node, later.since, later.heard_at) == (HostState.READY, "n1", 10.0, 20.0)


@pytest.mark.parametrize(
    ("state", "kept"), [(HostState.STARTING, METRICS), (HostState.STOPPING, METRICS), (HostState.DRAINED, "")]
)
def test_monitoring_goes_on_asking_a_host_that_does_not_listen(state: HostState, kept: str) -> None:
    """What is not asked cannot be found to be down; what the operator took out is not missed."""
    known = heard(Member(place=1), msgspec.structs.replace(READY, operations=METRICS), 1.0)

    later = heard(known, msgspec.structs.replace(READY, state=state), 2.0)

    assert later.operations == kept


def test_a_silent_host_is_killed_only_past_its_patience() -> None:
    """Before, nothing is done; then it is killed, and is given the time of a start."""
    member = ready_since(10.0)

    early, patient = missed(member, Sign.SILENT, 14.9, PATIENCE)
    late, act = missed(early, Sign.SILENT, 15.0, PATIENCE)
    after, afterwards = missed(late, Sign.SILENT, 70.0, PATIENCE)

    assert (patient, early.state) == (Act.NOTHING, HostState.READY)
    assert (act, late.state) == (Act.KILL, HostState.DOWN)
    assert (afterwards, after.state) == (Act.NOTHING, HostState.DOWN)
    assert "did not answer for 5 seconds" in late.problem


@pytest.mark.parametrize("state", [HostState.STARTING, HostState.DOWN])
def test_a_host_that_starts_has_the_longer_patience(state: HostState) -> None:
    """Loading holds up the answers of a host, and is no reason to kill it."""
    member = msgspec.structs.replace(ready_since(10.0), state=state, since=12.0)

    assert missed(member, Sign.SILENT, 71.9, PATIENCE)[1] is Act.NOTHING
    assert missed(member, Sign.SILENT, 72.0, PATIENCE)[1] is Act.KILL


def test_seconds_in_which_it_got_no_processor_are_no_silence() -> None:
    """Up to the time of a start; the operator reads why it does not answer. A start has its time and no more."""
    member = ready_since(10.0)
    starting = launched(Member(place=1), "n1", 0.0)

    spared, patient = missed(member, Sign.SILENT, 24.9, PATIENCE, starved=10.0)

    assert (patient, spared.state, spared.problem) == (Act.NOTHING, HostState.READY, STARVED)
    assert missed(spared, Sign.SILENT, 25.0, PATIENCE, starved=10.0)[1] is Act.KILL
    assert missed(spared, Sign.SILENT, 69.9, PATIENCE, starved=59.9)[1] is Act.NOTHING
    assert missed(spared, Sign.SILENT, 70.0, PATIENCE, starved=60.0)[1] is Act.KILL
    assert missed(starting, Sign.SILENT, 60.0, PATIENCE, starved=50.0)[1] is Act.KILL


def test_a_host_killed_in_its_start_has_the_time_of_a_start_again() -> None:
    """The patience begins anew with each kill."""
    member = launched(Member(place=1), "n1", 0.0)

    killed, _ = missed(member, Sign.SILENT, 60.0, PATIENCE)

    assert missed(killed, Sign.SILENT, 119.0, PATIENCE)[1] is Act.NOTHING
    assert missed(killed, Sign.SILENT, 120.0, PATIENCE)[1] is Act.KILL


def test_a_host_that_ray_restarts_is_left_to_ray() -> None:
    """It is down until it reports."""
    down, act = missed(ready_since(10.0), Sign.DOWN, 11.0, PATIENCE)

    assert (down.state, act) == (HostState.DOWN, Act.NOTHING)


def test_a_host_that_is_no_more_is_placed() -> None:
    """As one that never was."""
    gone, act = missed(ready_since(10.0), Sign.GONE, 11.0, PATIENCE)

    assert (gone.state, act) == (HostState.UNPLACED, Act.PLACE)


def test_the_epoch_grows_with_an_address_and_only_then() -> None:
    """A host that is down keeps its address in the directory."""
    directory = empty_record(2).directory

    first = advanced(directory, (Member(place=0), ready_since(1.0)))
    same = advanced(first, (Member(place=0), ready_since(2.0)))
    down = advanced(same, (Member(place=0), missed(ready_since(1.0), Sign.DOWN, 3.0, PATIENCE)[0]))
    moved = heard(ready_since(1.0), msgspec.structs.replace(READY, feed="10.0.0.2:9001"), 4.0)
    last = advanced(down, (Member(place=0), moved))

    assert first == HostDirectory(epoch=1, me=0, hosts=(HostAddress("host-0", ""), HostAddress("host-1", READY.feed)))
    assert same == down == first
    assert (last.epoch, last.hosts[1].feed) == (2, "10.0.0.2:9001")


def test_where_others_ask_a_host_is_kept_like_its_feed() -> None:
    """Also of a host without a feed, and while it does not listen."""
    listening = msgspec.structs.replace(READY, feed="", peers="10.0.0.1:7001", certificate="ab")
    silent = msgspec.structs.replace(listening, peers="", certificate="")

    first = advanced(empty_record(2).directory, (Member(place=0), heard(Member(place=1), listening, 1.0)))
    down = advanced(first, (Member(place=0), heard(Member(place=1), silent, 2.0)))

    assert first.hosts[1] == HostAddress("host-1", "", "10.0.0.1:7001", "ab")
    assert down == first


def test_the_epoch_passes_every_epoch_that_a_host_has_seen() -> None:
    """A supervisor that lost its record does not give an old epoch to new addresses."""
    report = msgspec.structs.replace(READY, epoch=8)

    assert advanced(empty_record(2).directory, (Member(place=0), heard(Member(place=1), report, 1.0))).epoch == 9


def node(name: str, *places: int) -> Node:
    return Node(name, f"10.0.0.{name[1:]}", frozenset(places))


def test_a_host_runs_where_its_files_are() -> None:
    """However many hosts that node has already."""
    record = empty_record(3)

    assert choose_node(1, (node("n1"), node("n2", 0, 1)), record, {"n2": 5}) == node("n2", 0, 1)


def test_a_host_without_files_runs_where_the_fewest_are() -> None:
    """Hosts are spread over the nodes."""
    nodes = (node("n1"), node("n2"), node("n3"))

    assert choose_node(2, nodes, empty_record(3), {"n1": 1, "n2": 1}) == node("n3")


def test_a_host_whose_files_no_node_has_is_not_started_empty() -> None:
    """Once it has been ready it must run where its files are; before that it may run anywhere."""
    record = empty_record(2)
    was_ready = msgspec.structs.replace(record, placed={1: Placed("10.0.0.2", has_files=True)})
    never_was = msgspec.structs.replace(record, placed={1: Placed("10.0.0.2", has_files=False)})

    refused = choose_node(1, (node("n1", 0),), was_ready, {})

    assert isinstance(refused, NoNode)
    assert "which were on 10.0.0.2" in refused.problem
    assert choose_node(1, (node("n1", 0),), never_was, {}) == node("n1", 0)


def test_a_host_whose_files_are_on_two_nodes_is_not_started() -> None:
    """Which copy is right is for the operator to say."""
    refused = choose_node(1, (node("n1", 1), node("n2", 1)), empty_record(2), {})

    assert isinstance(refused, NoNode)
    assert "10.0.0.1 and 10.0.0.2" in refused.problem


def test_a_host_that_is_cut_off_is_left_alone_and_has_as_long_again_when_it_is_joined() -> None:
    """What was sent to it meanwhile is repeated after pauses that may be as long as the cut was."""
    cut = ready_since(10.0)
    for now in (12.0, 20.0, 24.0):
        cut, act = missed(cut, Sign.CUT_OFF, now, PATIENCE)
        assert (cut.state, act) == (HostState.UNREACHABLE, Act.NOTHING)

    waiting, patient = missed(cut, Sign.SILENT, 24.0 + 14.0 + 4.9, PATIENCE)
    _, late = missed(waiting, Sign.SILENT, 24.0 + 14.0 + 5.0, PATIENCE)

    assert (waiting.state, patient) == (HostState.UNREACHABLE, Act.NOTHING)
    assert late is Act.KILL


def test_a_host_that_is_cut_off_while_it_loads_is_not_hurried_afterwards() -> None:
    """It has the time of a start again."""
    member = launched(Member(place=1), "n1", 0.0)

    cut, _ = missed(member, Sign.CUT_OFF, 50.0, PATIENCE)

    assert cut.state is HostState.STARTING
    assert missed(cut, Sign.SILENT, 109.0, PATIENCE)[1] is Act.NOTHING
    assert missed(cut, Sign.SILENT, 110.0, PATIENCE)[1] is Act.KILL


def test_why_a_host_has_no_node_is_not_what_was_wrong_with_it_before() -> None:
    """It is unknown until nodes were searched, and kept from then on."""
    killed, _ = missed(ready_since(10.0), Sign.SILENT, 15.0, PATIENCE)

    gone, act = missed(killed, Sign.GONE, 16.0, PATIENCE)
    known, _ = missed(unplaced(gone, "no node is up", 17.0), Sign.GONE, 18.0, PATIENCE)

    assert (gone.state, gone.problem, act) == (HostState.UNPLACED, "", Act.PLACE)
    assert known.problem == "no node is up"
