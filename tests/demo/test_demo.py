"""`maskline demo`, whole: a fresh engine, the recorded traffic, every decision compared."""

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx
import msgspec
import pytest
from rich.console import Console

from engine.channels.sockets import ListenAddress
from engine.core.routing.traffic import Reason
from engine.demo.compose import encode, recorded
from engine.demo.run import DemoOptions, run_demo
from engine.demo.script import Refused, Routed

MASKLINE = str(Path(sys.executable).with_name("maskline"))


@pytest.fixture(autouse=True)
def kept_logging() -> Iterator[None]:
    """The demo sets logging up for its process; this process gets its own back."""
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = kept


def test_every_decision_is_the_recorded_one() -> None:
    """`demo --once` ends with 0 and says so."""
    ran = subprocess.run([MASKLINE, "demo", "--once"], capture_output=True, text=True, check=False, timeout=50)  # noqa: S603 - our own command

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Every decision is the one the recorded file expects." in ran.stdout
    assert ran.stderr == "an engine starts on a temporary directory, and the recorded traffic is played: some seconds\n"


def test_machines_get_one_json_document() -> None:
    """Totals, endings, no differences."""
    command = [MASKLINE, "demo", "--once", "--json"]

    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)  # noqa: S603 - our own command

    report = json.loads(ran.stdout)
    assert report["webhooks"] == len(recorded())
    assert report["differences"] == []
    assert sum(row["calls"] + row["messages"] + row["reports"] for row in report["endings"]) == len(recorded())


def test_a_decision_that_differs_is_shown(tmp_path: Path) -> None:
    """A wrong partner is found in the answer, a wrong reason in the engine's own counts."""
    webhooks = recorded()
    routed = next(index for index, one in enumerate(webhooks) if isinstance(one.expect, Routed))
    stopped = next(
        index
        for index, one in enumerate(webhooks)
        if isinstance(one.expect, Refused) and one.expect.reason is Reason.STOP_WORD
    )
    wrong = Routed(to="+16465550139", caller_id="+12125550172")
    webhooks[routed] = msgspec.structs.replace(webhooks[routed], expect=wrong)
    webhooks[stopped] = msgspec.structs.replace(webhooks[stopped], expect=Refused(Reason.NO_SESSION))
    file = tmp_path / "traffic.ndjson"
    file.write_bytes(encode(webhooks))
    screen = Console(file=StringIO(), width=200)
    listen = ListenAddress("127.0.0.1", 0)

    report = run_demo(DemoOptions(listen=listen, is_once=True, as_json=False, traffic=file), screen)

    differences = "\n".join(report.differences)
    assert f"{webhooks[routed].id} (" in differences
    assert "message refused stop-word: expected 17, the engine counted 18" in differences
    assert "+16465550139" not in differences


def test_it_serves_until_interrupted_and_its_lines_work() -> None:
    """The printed curl line reaches the engine and is answered; Ctrl-C ends it with 0 and leaves nothing behind."""
    with subprocess.Popen([MASKLINE, "demo"], stdout=subprocess.PIPE, text=True) as demo:  # noqa: S603 - our own command
        assert demo.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("[(s.unique_name"):
            lines.append(demo.stdout.readline())
            assert lines[-1], "the demo ended early"
        curl = next(line for line in lines if line.startswith("curl") and "/inbound/voice" in line)
        explain = next(line for line in lines if " explain --data-dir " in line)
        data_dir = Path(explain.split()[explain.split().index("--data-dir") + 1])
        answer = posted(shlex.split(curl))
        was_there = data_dir.exists()

        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=10)

    assert "<Dial " in answer.text
    assert was_there
    assert demo.returncode == 0
    assert not data_dir.exists()


def posted(curl: list[str]) -> httpx.Response:
    """Do what a curl line of the demo says."""
    url = next(word for word in curl if word.startswith("http"))
    name, _, value = curl[curl.index("-H") + 1].partition(": ")
    fields = [curl[index + 1].split("=", 1) for index, word in enumerate(curl) if word == "--data-urlencode"]
    return httpx.post(url, headers={name: value}, data=dict(fields))
