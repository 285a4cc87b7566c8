"""A few thousand mutated messages; `fuzz.py` tries as many as one likes by hand."""

import pytest

from tests.channels.sip.fuzz import SEEDS, Fuzz
from tests.channels.sip.wires import STRANGER_HOST, Wires

pytestmark = pytest.mark.anyio


async def test_nothing_that_comes_can_do_harm() -> None:
    """Over UDP, over TCP, and while decisions are waited for."""
    fuzz = Fuzz(seed=4475)

    for _ in range(3_000):
        fuzz.datagram()
    for _ in range(200):
        fuzz.stream()
    for _ in range(5):
        fuzz.wait()

    assert {"200", "302", "400", "404", "405", "503"} <= set(fuzz.answers)
    assert fuzz.compared > 100


async def test_a_stranger_is_never_a_peer() -> None:
    """Whatever stands in the message: the address alone counts."""
    wires = Wires()

    assert wires.server.intake.peers.find(STRANGER_HOST) is None
    assert {wires.connection([data], host=STRANGER_HOST) for data in SEEDS} == {(b"", True)}
    assert wires.plane.events == []
