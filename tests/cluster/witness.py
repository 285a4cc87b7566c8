"""A carrier in a process of its own that calls and writes all the while, and keeps on disk what it was answered.

Each pairing has one event under way at a time, sent again with the same SID, to one node after the other, until it is
answered with anything but 503; some are sent once more after that. `python -m tests.cluster.witness ORDERS` reads its
orders from a file and ends with its standard input.
"""

import asyncio
import itertools
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.cluster.live_cluster import eventually
from tests.e2e.carrier import Carrier, call_form, heard, message_form
from tests.e2e.live import NO_TLS
from tests.e2e.tenant import Pairing, Tenant

ANSWER_SECONDS = 4.0
"""How long it waits for an answer before it sends the event again."""
AGAIN_SECONDS = 0.1
AGAIN_SHARE = 0.2
"""Of the events that were answered are sent again."""
SYNC_SECONDS = 0.1

_ROOT = Path(__file__).parents[2]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    nodes: dict[str, str]
    """URLs by the names of nodes."""
    public_url: str
    account_sid: str
    token: str
    pairings: list[Pairing]
    pause_seconds: float
    """Between two events of a pairing."""
    record: str
    """The file of what was answered."""
    seed: int


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was acknowledged."""

    sid: str
    pairing: int
    side: int
    """0: the first one calls or writes."""
    node: str
    """Who answered."""
    began: float
    """When it was sent first; seconds of CLOCK_MONOTONIC, as `at`."""
    at: float
    is_again: bool
    """It had been answered before."""
    status: int
    reached: tuple[str, str] | None
    interaction: str
    content: str


class _Server:
    """What Carrier signs for."""

    def __init__(self, public_url: str) -> None:
        self.address = self.public_url = public_url


class _Witness:
    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._dice = random.Random(orders.seed)  # noqa: S311 - a test's dice
        server: Any = _Server(orders.public_url)
        self._carrier = Carrier(server, orders.account_sid, orders.token)
        self._record = Path(orders.record).open("ab")  # noqa: SIM115 - open as long as the process
        self._nodes = list(orders.nodes.items())
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Go on until standard input ends."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        async with (
            httpx.AsyncClient(verify=NO_TLS, timeout=ANSWER_SECONDS, limits=limits) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(len(self._orders.pairings)):
                tasks.create_task(self._talk(http, number))
            tasks.create_task(self._sync())
            await asyncio.to_thread(sys.stdin.read)
            self._over.set()
        os.fsync(self._record.fileno())

    async def _talk(self, http: httpx.AsyncClient, number: int) -> None:
        for count in itertools.count():
            if self._over.is_set():
                return
            path, form = self._event(number, count)
            began = time.monotonic()
            if not await self._ask(http, path, form, number, count % 2, began, is_again=False):
                return
            if self._dice.random() < AGAIN_SHARE:
                await self._ask(http, path, form, number, count % 2, began, is_again=True)
            await asyncio.sleep(self._orders.pause_seconds)

    def _event(self, number: int, count: int) -> tuple[str, dict[str, str]]:
        caller, _ = self._orders.pairings[number].sides[count % 2]
        account, rest = self._orders.account_sid, f"{self._orders.seed:08x}{number:08x}{count:016x}"
        if count // 2 % 2:
            return "/inbound/voice", call_form(account, caller.identifier, caller.proxy, sid=f"CA{rest}")
        form = message_form(account, caller.identifier, caller.proxy, sid=f"SM{rest}")
        return "/inbound/message", form | {"Body": "hello", "NumMedia": "0"}

    async def _ask(  # noqa: PLR0917 - what is written down
        self,
        http: httpx.AsyncClient,
        path: str,
        form: dict[str, str],
        number: int,
        side: int,
        began: float,
        *,
        is_again: bool,
    ) -> bool:
        """Send until it is answered; False: it never was."""
        headers = {"X-Twilio-Signature": self._carrier.signature(path, form)}
        while not self._over.is_set():
            name, url = self._dice.choice(self._nodes)
            try:
                response = await http.post(url + path, data=form, headers=headers)
            except httpx.TransportError:
                response = None
            if response is not None and response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                got = heard(response)
                answered = Answered(
                    sid=form.get("CallSid") or form["MessageSid"],
                    pairing=number,
                    side=side,
                    node=name,
                    began=began,
                    at=time.monotonic(),
                    is_again=is_again,
                    status=got.status,
                    reached=got.reached,
                    interaction=httpx.URL(got.twiml.status_url).params.get("interaction", ""),
                    content=response.text,
                )
                self._record.write(msgspec.json.encode(answered) + b"\n")
                self._record.flush()
                return True
            await asyncio.sleep(AGAIN_SECONDS)
        return False

    async def _sync(self) -> None:
        while not self._over.is_set():
            await asyncio.to_thread(os.fsync, self._record.fileno())
            await asyncio.sleep(SYNC_SECONDS)


class Witness:
    """The process, as a test sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]", orders: Orders) -> None:
        """Know one that runs."""
        self._process = process
        self.orders = orders

    @property
    def answers(self) -> list[Answered]:
        """All that was acknowledged so far."""
        lines = Path(self.orders.record).read_bytes().splitlines(keepends=True)
        return [msgspec.json.decode(line, type=Answered) for line in lines if line.endswith(b"\n")]

    def await_more(self, what: str, *, seconds: float = 60.0, of: Sequence[Pairing] = ()) -> None:
        """Wait until every pairing, or each of some, was answered both ways by what was sent from now on."""
        now = time.monotonic()
        numbers = [number for number, one in enumerate(self.orders.pairings) if not of or one in of]
        wanted = {(number, side) for number in numbers for side in (0, 1)}
        eventually(
            lambda: wanted <= {(one.pairing, one.side) for one in self.answers if one.began > now},
            f"all are answered {what}",
            seconds=seconds,
        )

    def stop(self) -> None:
        """Let it end; what is under way then is in doubt."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(60) == 0


@contextmanager
def witnessing(
    tenant: Tenant, pairings: Sequence[Pairing], nodes: dict[str, str], directory: Path, *, pause_seconds: float = 0.2
) -> Iterator[Witness]:
    """Run one while the context lasts."""
    seed = random.randrange(2**32)  # noqa: S311 - a test's dice
    orders = Orders(
        nodes=nodes,
        public_url=tenant.server.public_url,
        account_sid=tenant.sid,
        token=tenant.token,
        pairings=list(pairings),
        pause_seconds=pause_seconds,
        record=str(directory / f"answers-{seed:08x}.jsonl"),
        seed=seed,
    )
    Path(orders.record).touch()
    told = directory / "orders.json"
    told.write_bytes(msgspec.json.encode(orders))
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", __name__, str(told)], stdin=subprocess.PIPE, cwd=_ROOT
    )
    try:
        yield Witness(process, orders)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def faults(witness: Witness, listed: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Hold what was answered against the interactions of each session; returns what must not be."""
    found: list[str] = []
    answers = witness.answers
    by_sid: dict[str, list[Answered]] = defaultdict(list)
    for one in answers:
        by_sid[one.sid].append(one)
    for sid, same in by_sid.items():
        if len({one.content for one in same}) > 1:
            found.append(f"answered twice differently: {sid}: {same}")
    for one in answers:
        _, partner = witness.orders.pairings[one.pairing].sides[one.side]
        if one.reached != (partner.identifier, partner.proxy):
            found.append(f"misrouted or refused: {one}")
    for number, pairing in enumerate(witness.orders.pairings):
        found += _missing(pairing, listed[pairing.sid], [one for one in answers if one.pairing == number])
    return found


def _missing(pairing: Pairing, listed: list[dict[str, Any]], answers: list[Answered]) -> Iterator[str]:
    sids = [one["inbound_resource_sid"] for one in listed]
    yield from (f"recorded twice: {sid}" for sid in sorted({one for one in sids if sids.count(one) > 1}))
    shown = {one["sid"]: one for one in listed}
    for one in answers:
        there = shown.get(one.interaction)
        caller, partner = pairing.sides[one.side]
        if there is None or there["inbound_resource_sid"] != one.sid:
            yield f"missing: {one}"
        elif (there["inbound_participant_sid"], there["outbound_participant_sid"]) != (caller.sid, partner.sid):
            yield f"recorded for others: {one}, {there}"
    if len({*sids} - {one.sid for one in answers}) > 1:
        yield f"more than one that was not acknowledged: {pairing.sid}"


def main(orders: Path) -> None:
    """Be the process."""
    told = msgspec.json.decode(orders.read_bytes(), type=Orders)
    asyncio.run(_Witness(told).run())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
