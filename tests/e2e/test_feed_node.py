"""The feed in another language: a client in plain Node.js, written from the document, held against it and a server."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.core.model.placement import SHARDS, Placement, owner_of
from tests.channels.feed.feed_example import FRAMES
from tests.e2e.application import GATE, Application
from tests.e2e.tenant import Tenant, near_numbers, person
from tests.outbound.receiver import Received, Reply

CLIENT = Path(__file__).parents[1] / "clients" / "feed.js"
BOUND_SECONDS = 30.0
"""Bound on a run; it is not an expectation."""


@pytest.fixture(scope="module")
def node() -> str:
    """Return where Node.js is; only a machine of one's own may be without it."""
    found = shutil.which("node")
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no Node.js here")
    assert found is not None, "the second client of the feed needs Node.js"
    return found


def run(node: str, *arguments: str, lines: list[str]) -> list[str]:
    """Run the client to its end; returns the lines that it printed."""
    done = subprocess.run(  # noqa: S603 - our own script
        [node, str(CLIENT), *arguments],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class Talk:
    """The client as it talks to a server: JSON in, JSON out."""

    def __init__(self, node: str, tenant: Tenant, wants: list[str]) -> None:
        credentials = {"FEED_KEY": tenant.sid, "FEED_SECRET": tenant.token, "FEED_WANTS": json.dumps(wants)}
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [node, str(CLIENT), tenant.server.feed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | credentials,
        )
        self.welcome = self.read()

    def send(self, *messages: object) -> None:
        """Have it send messages."""
        assert self._process.stdin is not None
        self._process.stdin.writelines(f"{json.dumps(message)}\n" for message in messages)
        self._process.stdin.flush()

    def read(self) -> Any:  # noqa: ANN401 - JSON
        """Return what it heard next."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def end(self) -> list[Any]:
        """Have it say that it has said all; returns what it heard until the server closed."""
        rest, _ = self._process.communicate(timeout=BOUND_SECONDS)
        assert self._process.returncode == 0
        return [json.loads(line) for line in rest.splitlines()]

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def talk(node: str, tenant: Tenant) -> Iterator[Talk]:
    """Return a client that has said hello."""
    talk = Talk(node, tenant, ["outcome", "to", "caller_id", "interaction"])
    yield talk
    talk.kill()


def test_it_writes_and_reads_the_worked_example_byte_by_byte(node: str) -> None:
    """Both directions."""
    sent = [frame for title, frame in FRAMES.items() if title.startswith("→")]
    received = [frame for title, frame in FRAMES.items() if title.startswith("←")]
    messages = [json.dumps(msgspec.msgpack.decode(frame[4:])) for frame in sent]

    written = run(node, "--write", lines=messages)
    read = run(node, "--read", lines=[frame.hex() for frame in received])

    assert written == [frame.hex() for frame in sent]
    assert [json.loads(line) for line in read] == [msgspec.msgpack.decode(frame[4:]) for frame in received]


def test_it_finds_the_host_that_owns_a_number(node: str) -> None:
    """The example of the document, and many more."""
    numbers = ["+14155550100", "+14155550101", "+14155550102", "20500", *(f"+1212555{line:04}" for line in range(200))]

    found = run(node, "--owner", "3", *numbers, "+5215512345678", lines=[])
    by_shard = run(node, "--owner", f"3/{SHARDS}", *numbers, "+5215512345678", lines=[])

    numbers.append("+525512345678")
    assert found == [str(owner_of(number, 3)) for number in numbers]
    assert by_shard == [str(Placement(3, by_shard=True)(number)) for number in numbers]


def test_it_gets_decisions_from_a_live_server(talk: Talk, tenant: Tenant) -> None:
    """Frames ahead of their answers, a mistake, a leg status, and the end."""
    pairing = tenant.service(pool=near_numbers()).pairing()
    first, second = pairing.first, pairing.second

    talk.send(
        [["call", first.identifier, first.proxy, "CA-1"], ["call", person(), first.proxy, "CA-2"]],
        [["message", second.identifier, second.proxy, "SM-1", "¡hola! ☎"], ["call", first.identifier]],
        "no events",
    )
    answers, more, problem = talk.read(), talk.read(), talk.read()
    interaction = answers[3][0][3]
    talk.send([["status", "call", "outbound", "CA-9", "completed", first.proxy, interaction, 40]])

    assert (talk.welcome[0], talk.welcome[2]["account"]) == ("welcome", tenant.sid)
    assert answers[3] == [["routed", second.identifier, second.proxy, interaction], ["refused", "", "", ""]]
    assert more[3][0][:3] == ["routed", first.identifier, first.proxy]
    assert more[3][1] == {"error": "missing-field", "field": "proxy", "detail": "call: proxy is missing"}
    assert (problem[:2], problem[2]["error"]) == (["error", 3], "not-an-array")
    assert [frame[3] for frame in talk.end()] == [["recorded"]]
    read = tenant.get(f"{pairing.path}/Interactions/{interaction}")
    assert read["outbound_resource_status"] == "completed"
    written = tenant.get(f"{pairing.path}/Interactions/{more[3][0][3]}")
    assert json.loads(written["data"])["body"] == "¡hola! ☎"


def test_it_hears_later_what_had_to_wait(talk: Talk, tenant: Tenant, application: Application) -> None:
    """Although it has closed its own side by then."""
    may_answer = threading.Event()
    pairing = tenant.service(pool=near_numbers(), InterceptCallbackUrl=application.url(GATE)).pairing()
    call = ["call", pairing.first.identifier, pairing.first.proxy, "CA-1"]

    def gate(_: Received) -> Reply:
        may_answer.wait(10)
        return Reply()

    application.handles(GATE, gate)
    talk.send([call, ["resolve", *call[:3]]])
    answers = talk.read()
    threading.Timer(0.1, may_answer.set).start()
    (later,) = talk.end()

    assert (answers[3][0], answers[3][1][0]) == (None, "routed")
    assert (later[0], later[2][0][:2], later[2][0][2][:2]) == ("later", [1, 0], ["routed", pairing.second.identifier])
