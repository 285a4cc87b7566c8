"""Every command that README.md and docs/*.md show runs as it stands there; the few that cannot are at least read."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from tests.docs_world import ROOT, Block, a_world, blocks_of, command_of, flags_of

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]

NOT_RUN = {
    "maskline serve --runtime ray --hosts 4 --data-dir": "an address of another machine; README.md's two hosts run",
    "export RAY_AUTH_MODE=token": "a Ray over several machines",
    "maskline serve --runtime ray --hosts 4 --config": "several machines on a database; tests/cluster has two nodes",
    "FEED_KEY=": "a feed on another machine, whose certificate this one trusts",
    "maskline sip ask": "a server that has this machine for a peer; tests/cli asks one",
    "apt-get install kamailio": "it installs packages, as root; `make sip-test` does and runs what they make",
    "maskline database init": "three machines; tests/cli and tests/e2e run these on a PostgreSQL of their own",
    "promtool": "Prometheus is installed by `make ops-test` only, which runs it",
}
"""How the blocks begin that are marked `not-run` behind their language, and why."""

STOPPED = {"docs/rebalance.md", "docs/postgres.md"}
"""Documents whose commands want data that nobody serves."""

ON_POSTGRES = {"docs/postgres.md"}
"""Those that want a database."""

RAYS = "--runtime ray"


def ours(block: Block) -> list[list[str]]:
    """Return the words of each command of ours in a block, from `maskline` on."""
    found = []
    for line in block.commands:
        for part in re.split(r"&&|\|\||[|;&]", line):
            words = shlex.split(part)
            names = [place for place, word in enumerate(words) if word.rpartition("/")[2] == "maskline"]
            if names:
                found.append(words[names[0] + 1 :])
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "document",
    [
        pytest.param(name_of(one), id=f"{name_of(one)}{'-ray' if RAYS in one.read_text('utf-8') else ''}")
        for one in DOCUMENTS
        if any(block.is_run for block in blocks_of(one))
    ],
)
def test_every_command_that_is_shown_runs(document: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """One block after the other in a scratch directory, against a real server."""
    database: str = request.getfixturevalue("database") if document in ON_POSTGRES else ""
    with a_world(tmp_path, database) as world:
        world.configure(ROOT / document)
        if document in STOPPED:
            world.stop()
        for block in BLOCKS:
            if block.document == document and block.is_run:
                if document not in STOPPED:
                    world.attend()
                done = world.run(block.text)
                assert done.returncode == 0, f"{document}:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"


def test_what_is_not_run_is_marked_and_has_a_reason() -> None:
    """As the table says, no more and no less."""
    begun = {(block.document, block.line): block.text for block in BLOCKS if not block.is_run}
    known = {place: [one for one in NOT_RUN if text.startswith(one)] for place, text in begun.items()}

    assert {place: names for place, names in known.items() if len(names) != 1} == {}
    assert {name for names in known.values() for name in names} == set(NOT_RUN)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.document}:{block.line}")
def test_every_block_can_be_read(block: Block) -> None:
    """By the shell; and its commands of ours by ours, with flags that they have."""
    read = subprocess.run(["/bin/bash", "-n"], input=block.text, capture_output=True, text=True, check=False)

    assert (read.returncode, read.stderr) == (0, "")
    for words in ours(block):
        command, left = command_of(words)
        assert not isinstance(command, click.Group), words
        named = {word.partition("=")[0] for word in left if word.startswith("--")}
        assert command.name == "run" or named <= flags_of(command), words


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.document}:{block.line}")
def test_every_example_says_on_which_data(block: Block) -> None:
    """Whoever pastes it into a shell gets the data that is meant, and no new directory."""
    for words in ours(block):
        command, left = command_of(words)
        if "--data-dir" in flags_of(command) and "FEED_KEY=" not in block.text:
            assert "--data-dir" in left, f"{block.document}:{block.line} {words}"


def test_commands_in_sentences_exist() -> None:
    """`maskline …` between backticks: the command, and each flag that is named with it."""
    spans = [
        (name_of(document), " ".join(span.split()))
        for document in DOCUMENTS
        for span in re.findall(r"`(maskline [a-z][^`]*)`", document.read_text("utf-8"))
    ]
    assert len(spans) > 30

    for document, span in spans:
        words = shlex.split(span)[1:]
        command, left = command_of([word for word in words if word != "…"])
        named = {word.partition("=")[0] for word in left if word.startswith("--")}
        assert named <= flags_of(command), f"{document}: {span}"


def test_no_command_is_shown_that_cannot_be_followed() -> None:
    """It is in no package index; it is installed from a checkout's wheel."""
    shown = "\n".join(path.read_text("utf-8") for path in (*DOCUMENTS, *(ROOT / "deploy").rglob("*")) if path.is_file())

    assert "pip install maskline" not in shown
