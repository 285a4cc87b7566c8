"""Who owns what in a cluster."""

import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.placement import SHARDS, Placement, host_name, owner_of, shard_of, shards_of

EXAMPLE = [2, 1, 2, 0]

FEED = Path(__file__).parents[2] / "docs" / "feed.md"

NUMBERS = tuple(f"+1415555{line:04}" for line in range(4_000))

keys = st.text(min_size=1, max_size=40)


def test_a_single_host_owns_everything() -> None:
    """Then there is nothing to choose."""
    assert {owner_of(number, 1) for number in NUMBERS[:100]} == {0}


def test_a_client_in_another_language_can_follow_this_example() -> None:
    """The document of the feed shows these; SHA-256 of "NAME/KEY", first eight bytes, the largest wins."""
    assert host_name(1) == "host-1"
    assert [owner_of(number, 3) for number in ("+14155550100", "+14155550101", "+14155550102", "20500")] == EXAMPLE


def test_the_example_of_shards_in_the_document_can_be_recomputed_from_its_words() -> None:
    """Both hashes, without a line of ours, and as the engine places."""
    rows = re.findall(r"\| (\+?\d+) \| (\d+) \| (host-\d) \|", FEED.read_text())

    def hashed(text: str) -> int:
        return int.from_bytes(sha256(text.encode()).digest()[:8])

    assert len(rows) == 3
    for number, shard, owner in rows:
        weights = {hashed(f"host-{place}/{shard}"): f"host-{place}" for place in range(3)}
        assert (str(hashed(number) % 1024), weights[max(weights)]) == (shard, owner)
        assert host_name(Placement(3, by_shard=True)(number)) == owner


@given(hosts=st.integers(1, 9))
def test_each_shard_is_one_hosts(hosts: int) -> None:
    """None is left out, none is owned twice."""
    assert sorted(shard for place in range(hosts) for shard in shards_of(place, hosts)) == list(range(SHARDS))


@given(key=keys, hosts=st.integers(1, 9))
def test_who_owns_a_key_by_its_shard_owns_the_shard(key: str, hosts: int) -> None:
    """So that a row is read by the host whose the key is."""
    assert shard_of(key) in shards_of(Placement(hosts, by_shard=True)(key), hosts)


def test_hosts_own_about_as_much_each() -> None:
    """A tenth more or less."""
    shares = Counter(owner_of(number, 4) for number in NUMBERS)

    assert all(900 <= share <= 1_100 for share in shares.values())


@given(key=keys, hosts=st.integers(1, 8))
def test_one_host_more_moves_only_what_it_owns_itself(key: str, hosts: int) -> None:
    """Nothing moves between those that were there before."""
    assert owner_of(key, hosts + 1) in {owner_of(key, hosts), hosts}


@given(st.lists(keys, max_size=20))
def test_what_is_remembered_is_what_is_computed(asked: list[str]) -> None:
    """Also after everything was forgotten."""
    placement = Placement(3, capacity=5)

    assert [placement(key) for key in asked] == [owner_of(key, 3) for key in asked]
