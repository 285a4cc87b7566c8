"""`RayPeers` on a real Ray: every way in which another host does not answer is PeerUnavailable."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.cluster import peers_script
from tests.cluster.live_cluster import LiveCluster
from tests.e2e.live import clean_environment

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def came(shared_cluster: LiveCluster) -> dict[str, Any]:
    """Return what each ask came to."""
    ran = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", peers_script.__name__, str(shared_cluster.data_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(),
    )
    assert ran.returncode == 0, ran.stderr
    came: dict[str, Any] = json.loads(ran.stdout)
    return came


def test_a_message_reaches_the_host_with_its_sender(came: dict[str, Any]) -> None:
    """And the answer comes back; many at once come back each to its own; what is large too."""
    assert came["hello"] == "first to 3: hello"
    assert came["many"] is True
    assert came["large"] == 300_000 + len("first to 3: ")


def test_hosts_send_what_is_large_in_the_call_too(came: dict[str, Any]) -> None:
    """Not through Ray's object store, which holds the sender up when it is full."""
    assert int(came["inlined"]) >= 1_000_000


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("nobody", "host-11 is not reached"),
        ("refuse", "host-10 does not run"),
        ("break", "host-10 is not reached (RayTaskError"),
        ("hang", "host-10 did not answer within 2 seconds"),
        ("killed", "host-10 is not reached"),
        ("known_down", "host-10 is down"),
    ],
)
def test_whatever_goes_wrong_is_told_as_one_error(came: dict[str, Any], case: str, problem: str) -> None:
    """It names the host and says what happened."""
    assert came[case].startswith(f"PeerUnavailable: {problem}")


def test_the_word_that_a_host_is_down_holds_for_its_time(came: dict[str, Any]) -> None:
    """Afterwards the host itself is asked."""
    assert came["no_longer_down"] == "first to 3: hello"


def test_a_host_that_has_just_asked_is_taken_to_be_up(came: dict[str, Any]) -> None:
    """The word that it is down was of before."""
    assert came["heard"] == "first to 3: hello"


def test_a_host_placed_anew_is_reached_under_its_name(came: dict[str, Any]) -> None:
    """The handle of the one before is not used again."""
    assert came["replaced"] == "second to 3: hello"
