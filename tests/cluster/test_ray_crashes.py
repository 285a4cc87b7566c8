"""kill -9 under load, on a real Ray, of any part of a cluster: what was acknowledged is there, once, and routes."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.live_cluster import WAIT_SECONDS, LiveCluster, eventually
from tests.e2e.audit import audit
from tests.e2e.load import Load, Wire
from tests.e2e.tenant import Tenant, new_tenant

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

AWAY_SECONDS = 2.0
"""How long work goes on after the blow: without a host, and with it while it comes back."""


class Trouble:
    """Strikes a cluster some answers after the load has begun, at no particular moment of its work."""

    def __init__(self, strike: Callable[[], object], dice: random.Random) -> None:
        """Strike later."""
        self.over = asyncio.Event()
        """The load has gone on for long enough."""
        self._strike = strike
        self._answers_left = dice.randrange(20, 400)

    def __call__(self) -> None:
        """Count an answer."""
        self._answers_left -= 1
        if self._answers_left == 0:
            self._strike()
            asyncio.get_running_loop().call_later(AWAY_SECONDS, self.over.set)


@pytest.fixture(params=[1, 2, 3], ids=["1 host", "2 hosts", "3 hosts"])
def struck(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveCluster]:
    """Return a cluster of the test's own, which it may leave in disorder."""
    cluster = LiveCluster(tmp_path / "data", hosts=request.param)
    try:
        cluster.serve()
        yield cluster
        assert cluster.stop() == 0
    finally:
        cluster.end()


STRIKES: dict[str, Callable[[LiveCluster], object]] = {
    "one host": lambda cluster: cluster.kill_host(0),
    "another host": lambda cluster: cluster.kill_host(cluster.hosts - 1),
    "the supervisor": LiveCluster.kill_supervisor,
    "the driver": LiveCluster.kill,
    "all hosts": lambda cluster: [cluster.kill_host(place) for place in range(cluster.hosts)],
    "everything": LiveCluster.crash,
}


async def test_kill_9_of_any_part_under_load_loses_nothing_acknowledged(struck: LiveCluster) -> None:
    """Every answered create, change and webhook is there once, every binding routes to its partner and nobody else."""
    seed = random.randrange(2**32)  # noqa: S311 - a test's dice
    print(f"seed {seed}")  # noqa: T201 - to be seen when it fails
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    with closing(new_tenant(struck)) as tenant:
        load = Load(tenant.service(numbers=6), seed=seed, workers=12, people=40)
        for name, strike in STRIKES.items():
            print(f"killed: {name}")  # noqa: T201 - as above
            before = load.acknowledged
            await suffer(struck, tenant, load, Trouble(partial(strike, struck), dice))
            recover(struck)
            async with Wire(struck, tenant, patience_seconds=WAIT_SECONDS) as wire:
                await audit(load, wire)
            assert load.acknowledged > before


async def suffer(cluster: LiveCluster, tenant: Tenant, load: Load, trouble: Trouble) -> None:
    """Work until the blow and a while longer."""
    async with Wire(cluster, tenant) as wire:
        await load.run(wire, trouble, over=trouble.over)


def recover(cluster: LiveCluster) -> None:
    """Have everything serve again, by no more than an operator does: `serve` once more, where it has ended."""
    if cluster.process.poll() is not None:
        cluster.kill()
        cluster.serve()
    cluster.await_ready()
    eventually(cluster.is_whole, "the supervisor has heard of it")
