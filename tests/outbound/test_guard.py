"""Which addresses are connected to, whatever names resolve to and whenever."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.outbound.client import NotReached, guarded_client
from engine.outbound.connections import Origin
from engine.outbound.guard import LOOKUPS_OF_AN_ACCOUNT, AddressPolicy, IpAddress, Resolver
from engine.outbound.settings import EgressSettings
from tests.outbound.material import AC, LOCAL
from tests.outbound.receiver import Receiver

pytestmark = pytest.mark.anyio


class FakeResolver:
    """Answers with one list of addresses after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, origin: Origin) -> Sequence[IpAddress]:
        """Answer."""
        self.asked.append(origin.host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(address) for address in answer]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104 - refused
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:1::1",
        "2001:db8::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "192.0.0.8",
        "192.0.0.9",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.175.48.1",
        "198.51.100.1",
        "203.0.113.1",
        "64:ff9b:1::808:808",
        "100::1",
        "100:0:0:1::1",
        "2001::1",
        "2001:1::1",
        "2001:2::1",
        "2001:3::1",
        "2001:10::1",
        "2001:20::1",
        "2001:30::1",
        "2001:1ff::1",
        "2002:808:808::1",
        "2620:4f:8000::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Loopback, private, link-local, multicast, reserved; also inside an IPv6 address."""
    assert not AddressPolicy().permits(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "93.184.216.34",
        "192.0.1.1",
        "192.88.98.255",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2a00::1",
        "3fff:1000::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
    ],
)
def test_public_addresses_are_permitted(address: str) -> None:
    """Both families, and IPv4 behind NAT64."""
    assert AddressPolicy().permits(ip_address(address))


def test_allowed_networks_are_permitted_whatever_they_are() -> None:
    """An operator's own receivers may be in a private range."""
    policy = AddressPolicy(["10.0.0.0/8", "fd00::/8"])

    assert policy.permits(ip_address("10.1.2.3"))
    assert policy.permits(ip_address("fd12::1"))
    assert policy.permits(ip_address("::ffff:10.1.2.3"))
    assert not policy.permits(ip_address("192.168.1.1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
async def test_no_spelling_of_a_local_address_is_called(receiver: Receiver, host: str) -> None:
    """Refused for good, before a byte is sent."""
    async with guarded_client(EgressSettings()) as client:
        with pytest.raises(NotReached) as refusal:
            await client.post(f"http://{host}:{receiver.port}/", b"a=b", headers={}, account_sid=AC)

    assert refusal.value.code is Code.WEBHOOK_UNREACHABLE
    assert refusal.value.is_for_good
    assert not refusal.value.may_be_taken
    assert receiver.connections == 0


async def test_a_name_that_turns_private_is_refused_when_it_is_used(receiver: Receiver) -> None:
    """DNS rebinding: what is checked is what is connected to, at every connection."""
    resolver = FakeResolver(["127.0.0.1"], ["10.0.0.1"])
    settings = EgressSettings(outgoing_allow=LOCAL)
    url = f"http://rebinding.example:{receiver.port}/"

    async with guarded_client(settings, resolve=resolver) as client:
        first = await client.post(url, b"a=b", headers={}, account_sid=AC)
    async with guarded_client(settings, resolve=resolver) as client:
        with pytest.raises(NotReached, match="private"):
            await client.post(url, b"a=b", headers={}, account_sid=AC)

    assert first.status == 200
    assert resolver.asked == ["rebinding.example"] * 2
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"


async def test_a_name_is_resolved_once_for_a_connection(receiver: Receiver) -> None:
    """There is no second look-up between the check and the connect that could say something else."""
    resolver = FakeResolver(["127.0.0.1"], ["10.0.0.1"])

    async with guarded_client(EgressSettings(outgoing_allow=LOCAL), resolve=resolver) as client:
        answer = await client.post(f"http://once.example:{receiver.port}/", b"a=b", headers={}, account_sid=AC)

    assert answer.status == 200
    assert len(resolver.asked) == 1


async def test_of_a_names_addresses_only_permitted_ones_are_tried(receiver: Receiver) -> None:
    """A private address hidden among public ones is passed over."""
    resolver = FakeResolver(["10.0.0.1", "127.0.0.1", "192.168.0.1"])

    async with guarded_client(EgressSettings(outgoing_allow=LOCAL), resolve=resolver) as client:
        answer = await client.post(f"http://many.example:{receiver.port}/", b"a=b", headers={}, account_sid=AC)

    assert answer.status == 200


async def test_the_next_address_is_tried_when_one_refuses(receiver: Receiver) -> None:
    """Two tries, over the addresses in turn."""
    resolver = FakeResolver(["127.0.0.2", "127.0.0.1"])

    async with guarded_client(EgressSettings(outgoing_allow=LOCAL), resolve=resolver) as client:
        answer = await client.post(f"http://two.example:{receiver.port}/", b"a=b", headers={}, account_sid=AC)

    assert answer.status == 200


async def test_a_name_that_nobody_knows_is_not_reached() -> None:
    """An error of the look-up is one of the connection, and may pass."""

    async def unknown(origin: Origin) -> Sequence[IpAddress]:
        raise socket.gaierror(-2, "Name or service not known")

    async with guarded_client(EgressSettings(), resolve=unknown) as client:
        with pytest.raises(NotReached, match="not resolved") as refusal:
            await client.post("http://nowhere.example/", b"a=b", headers={}, account_sid=AC)

    assert refusal.value.code is Code.WEBHOOK_UNREACHABLE
    assert not refusal.value.is_for_good


async def test_the_resolver_looks_a_name_up_once_at_a_time() -> None:
    """Literals and names, remembered for some seconds."""
    resolver = Resolver()

    first = await resolver(Origin(is_secure=False, host="127.0.0.1", port=80, account_sid=AC))
    second = await resolver(Origin(is_secure=False, host="127.0.0.1", port=80, account_sid=AC))

    resolver.close()
    assert first == (ip_address("127.0.0.1"),)
    assert second is first


async def test_names_that_nobody_answers_for_hold_up_their_own_account_alone() -> None:
    """Every look-up that one account may have hangs; another's name is looked up, the same name included."""
    held, started = threading.Event(), threading.Semaphore(0)

    def look_up(host: str, port: int) -> tuple[IpAddress, ...]:
        if port == 1:
            started.release()
            assert held.wait(10)
        return (ip_address("8.8.8.8"),)

    resolver = Resolver(look_up)
    names = [Origin(is_secure=True, host=f"h{n}.example", port=1, account_sid=AC) for n in range(100)]
    stuck = [asyncio.ensure_future(resolver(name)) for name in names]
    for _ in range(LOOKUPS_OF_AN_ACCOUNT):
        assert await asyncio.to_thread(started.acquire, timeout=10)

    other = msgspec.structs.replace(names[-1], account_sid="AC" + "b" * 32, port=2)
    async with asyncio.timeout(10):
        found = await resolver(other)
    is_bounded = not started.acquire(blocking=False)
    held.set()
    await asyncio.gather(*stuck)

    resolver.close()
    assert found == (ip_address("8.8.8.8"),)
    assert is_bounded


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "\udcff"])
async def test_what_is_no_name_is_an_error_of_the_look_up(host: str) -> None:
    """The IDNA codec's own errors do not get through."""
    resolver = Resolver()

    with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
        await resolver(Origin(is_secure=False, host=host, port=80, account_sid=AC))

    resolver.close()
