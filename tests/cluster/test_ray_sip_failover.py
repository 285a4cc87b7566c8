"""A host dies under the calls of a switch that knows two: none goes wrong, none is lost but with the switch's say."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.core.model.placement import owner_of
from tests.channels.sip.messages import invite
from tests.cluster.live_cluster import LiveCluster, eventually
from tests.cluster.test_ray_sip import SETTINGS, two_ports
from tests.e2e.tenant import Pairing, Tenant, new_tenant, numbers_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

CALLS, CALLS_PER_SECOND, KILLED_AT = 600, 200, 150
FIRST_REPEAT_SECONDS = 0.5
GIVE_UP_SECONDS = (2.0, 30.0)
"""Kamailio's "fr_timer" of the sample before it asks the second host, and a bound on the wait for that one's answer."""

ROUTED, FAILED = 302, frozenset({500, 503})
NOBODY = 0


class Answer(msgspec.Struct, frozen=True):
    """A final answer; without a status nobody gave one."""

    status: int = NOBODY
    to: str = ""
    shown: str = ""


class Switch(asyncio.DatagramProtocol):
    """Asks the first of two hosts, repeats itself, and asks the second one where that fails or is silent."""

    transport: asyncio.DatagramTransport

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self._asked: dict[str, asyncio.Queue[tuple[int, dict[str, str]]]] = {}

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's form
        """Have a socket."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        """Take an answer; a final one is acknowledged."""
        line, *lines = data.decode().split("\r\n")
        headers = dict(one.partition(": ")[::2] for one in lines if one)
        branch = headers["Via"].partition("branch=")[2].partition(";")[0]
        status = int(line.split(" ")[1])
        if status >= 200:
            start = f"ACK sip:{addr[0]} SIP/2.0".encode()
            own = [f"{name}: {headers[name]}".encode() for name in ("From", "To", "Call-ID")]
            self.transport.sendto(invite(*own, b"CSeq: 1 ACK", _via(branch), start=start), addr)
        if branch in self._asked:
            self._asked[branch].put_nowait((status, headers))

    async def call(self, call_id: str, pairing: Pairing) -> Answer:
        """Ask whom a call reaches."""
        answer = Answer()
        for port, seconds in zip(self.ports, GIVE_UP_SECONDS, strict=True):
            branch = f"z9hG4bK-{call_id}-{port}"
            question = invite(
                f"From: <sip:{pairing.first.identifier}@carrier.example>;tag={call_id}".encode(),
                f"To: <sip:{pairing.first.proxy}@engine.example>".encode(),
                f"Call-ID: {call_id}".encode(),
                b"CSeq: 1 INVITE",
                _via(branch),
                start=f"INVITE sip:{pairing.first.proxy}@engine.example SIP/2.0".encode(),
            )
            answers = self._asked[branch] = asyncio.Queue()
            answer = await self._asking(question, ("127.0.0.1", port), answers, seconds)
            del self._asked[branch]
            if answer.status not in FAILED | {NOBODY}:
                break
        return answer

    async def _asking(
        self,
        question: bytes,
        address: tuple[str, int],
        answers: "asyncio.Queue[tuple[int, dict[str, str]]]",
        seconds: float,
    ) -> Answer:
        until, repeat = time.monotonic() + seconds, FIRST_REPEAT_SECONDS
        while (left := until - time.monotonic()) > 0:
            if repeat:
                self.transport.sendto(question, address)
            try:
                async with asyncio.timeout(min(left, repeat or left)):
                    status, headers = await answers.get()
            except TimeoutError:
                repeat *= 2
                continue
            if status >= 200:
                to = headers.get("Contact", "").partition("sip:")[2].partition("@")[0]
                return Answer(status, to, headers.get("X-Maskline-Caller-Id", ""))
            repeat = 0.0
        return Answer()


def _via(branch: str) -> bytes:
    return f"Via: SIP/2.0/UDP 127.0.0.1;rport;branch={branch}".encode()


async def traffic(
    switch: Switch, cluster: LiveCluster, pairings: list[Pairing]
) -> tuple[dict[str, Answer], set[str], int]:
    """Make calls at their pace, kill the first host among them.

    Returns how each ended, those that had ended before the kill, and the process killed.
    """
    began, killed, calls = time.monotonic(), 0, dict[str, asyncio.Task[Answer]]()
    early = set[str]()
    for number in range(CALLS):
        await asyncio.sleep(max(0.0, began + number / CALLS_PER_SECOND - time.monotonic()))
        if number == KILLED_AT:
            early = {call_id for call_id, task in calls.items() if task.done()}
            killed = cluster.kill_host(0)
        call_id = f"call-{number}"
        calls[call_id] = asyncio.create_task(switch.call(call_id, pairings[number % len(pairings)]))
    return {call_id: await task for call_id, task in calls.items()}, early, killed


def recorded(tenant: Tenant, pairings: list[Pairing]) -> list[str]:
    """Return the Call-IDs of all interactions, once all hosts know again who is there."""
    eventually(
        lambda: all(tenant.http.get(one.path).is_success for one in pairings), "the sessions' hosts are heard again"
    )
    kept = [tenant.everything(f"{one.path}/Interactions", "interactions") for one in pairings]
    return [call["inbound_resource_sid"] for calls in kept for call in calls]


async def test_a_host_that_dies_under_calls_costs_no_call_of_another(tmp_path: Path) -> None:
    """What the other one has all of is routed throughout; its own calls are too, or the switch is told to give up.

    Whatever was answered is recorded, once, also where both hosts were asked; nobody reaches anybody else.
    """
    port = two_ports()
    configuration = tmp_path / "maskline.toml"
    configuration.write_text(SETTINGS.format(port=port))
    cluster = LiveCluster(tmp_path / "data", "--config", str(configuration))
    try:
        await asyncio.to_thread(cluster.serve)
        tenant = await asyncio.to_thread(new_tenant, cluster)
        made = [await asyncio.to_thread(_pairing, tenant, place) for place in (0, 1)]
        transport, switch = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Switch(port, port + 1), local_addr=("127.0.0.1", 0)
        )
        before = [await switch.call(f"before-{place}", one) for place, one in enumerate(made)]
        answers, early, killed = await traffic(switch, cluster, made)
        await asyncio.to_thread(cluster.await_ready, other_than={0: killed})
        after = [await switch.call(f"after-{place}", one) for place, one in enumerate(made)]
        try:
            calls = await asyncio.to_thread(recorded, tenant, made)
        finally:
            transport.close()
            tenant.close()
        assert await asyncio.to_thread(cluster.stop) == 0
    finally:
        await asyncio.to_thread(cluster.end)

    right = [Answer(ROUTED, one.second.identifier, one.second.proxy) for one in made]
    assert before == after == right
    ended = list(answers.values())
    of_the_dead, of_the_other = ([*zip(ended, right * (CALLS // 2), strict=True)][place::2] for place in (0, 1))
    assert [one for one, its in of_the_other if one != its] == []
    assert {one.status for one, its in of_the_dead if one != its} <= FAILED
    assert early
    assert {answers[call_id].status for call_id in early} == {ROUTED}
    routed = {call_id for call_id, one in answers.items() if one.status == ROUTED}
    assert routed <= set(calls)
    assert len(calls) == len(set(calls))


def _pairing(tenant: Tenant, place: int) -> Pairing:
    """Make a session of which this host has all: numbers and coordinator."""
    while True:
        service = tenant.service(pool=numbers_of(place, 2))
        if owner_of(service.sid, 2) == place:
            return service.pairing()
