"""What was acknowledged is there after kill -9 or SIGTERM under load, and routes as it did."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.audit import audit
from tests.e2e.live import LiveServer
from tests.e2e.load import Load, Wire
from tests.e2e.tenant import Tenant, new_tenant

pytestmark = pytest.mark.anyio

StartServer = Callable[..., LiveServer]

PUBLIC = "http://maskline.example"
"""The same before and after a restart, so that answers can be compared byte for byte."""

PARTS = 4
KILLS = 5
"""Of each part."""
KILLS_OF_A_DATABASE = 2
STOPS = 3


class Trouble:
    """Strikes the server some answers after the load has begun, at no particular moment of its work."""

    def __init__(self, strike: Callable[[], None], dice: random.Random) -> None:
        self._strike = strike
        self._answers_left = dice.randrange(1, 400)
        self._delay_seconds = dice.choice((0.0, dice.uniform(0, 0.01)))

    def __call__(self) -> None:
        """Count an answer."""
        self._answers_left -= 1
        if self._answers_left == 0 and not self._delay_seconds:
            self._strike()
        elif self._answers_left == 0:
            asyncio.get_running_loop().call_later(self._delay_seconds, self._strike)


@pytest.fixture
def tenant(start_server: StartServer) -> Iterator[Tenant]:
    """Return an account on a server of the test's own."""
    tenant = new_tenant(start_server(public_url=PUBLIC))
    yield tenant
    tenant.close()


def tossed(**names: object) -> int:
    """Return a seed, and show it if the test fails."""
    seed = random.randrange(2**32)  # noqa: S311 - a test's dice
    print(f"seed {seed}", names)  # noqa: T201 - to be seen when it fails
    return seed


@pytest.mark.parametrize(
    ("start_server", "part"),
    [*(("embedded", part) for part in range(PARTS)), ("ray", PARTS), ("postgres", PARTS + 1)],
    indirect=["start_server"],
)
async def test_kill_9_under_load_loses_nothing_acknowledged(
    tenant: Tenant, start_server: StartServer, part: int
) -> None:
    """Twenty of a process, five of others: what was answered is there, every binding routes, `in_use` is right."""
    seed = tossed(part=part)
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    load = Load(tenant.service(numbers=5), seed=seed, workers=12, people=40)
    server = tenant.server

    kills = KILLS if part <= PARTS else KILLS_OF_A_DATABASE
    for _ in range(kills):
        async with Wire(server, tenant) as wire:
            await load.run(wire, Trouble(server.crash, dice))
        assert server.process.returncode == -signal.SIGKILL
        server = start_server(public_url=PUBLIC)
        async with Wire(server, tenant) as wire:
            await audit(load, wire)

    assert load.acknowledged >= kills


@pytest.mark.parametrize("start_server", ["embedded", "ray", "postgres"], indirect=True)
async def test_sigterm_under_load_ends_in_time_and_loses_nothing(tenant: Tenant, start_server: StartServer) -> None:
    """Exit code 0, of a process within five seconds; no answer was a lie."""
    seed = tossed()
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    load = Load(tenant.service(numbers=5), seed=seed, workers=12, people=40)
    server = tenant.server

    for _ in range(STOPS):
        async with Wire(server, tenant) as wire:
            await load.run(wire, Trouble(server.process.terminate, dice))
            assert server.process.wait(server.stop_seconds) == 0
        server = start_server(public_url=PUBLIC)
        async with Wire(server, tenant) as wire:
            await audit(load, wire)
