"""The documents say what is there: commands and their flags, metrics, files, the size of the recorded traffic."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.kernel.gathering import ANSWER_SECONDS
from actors.traffic.stream import BEAT_SECONDS, LEASE_SECONDS
from benchmarks.__main__ import BENCHMARKS, options
from engine.api.batch_shapes import (
    MAX_ITEM_BYTES,
    MAX_KEY,
    BatchClose,
    BatchCreate,
    BatchForm,
    BatchParticipant,
    BatchUpdate,
    read_items,
)
from engine.api.endpoint import BATCHES_AT_ONCE
from engine.app import running_engine
from engine.channels.carrier_tables import KEYS as CARRIER_KEYS
from engine.channels.sip.tables import SipPeerSettings
from engine.channels.smpp.peers import SmppPeer
from engine.channels.sockets import ListenAddress
from engine.cli import main
from engine.console.rates import WINDOW_SECONDS
from engine.console.settings import MAX_FORM_BYTES, PAGE_ROWS, ConsoleSettings
from engine.core.model.logins import LoginLimits
from engine.core.model.requests import AccountUpdate, ServiceRequest
from engine.core.sessions.batch import MAX_ITEMS, CreateItem, UpdateItem
from engine.settings import SETTINGS, Settings
from storage.sqlite.rebalance.tables import OWNED, SHARED

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
RAYS_FLAGS = {"--head", "--block", "--num-cpus", "--include-dashboard", "--disable-usage-stats"}
PROFILERS_FLAGS = {"--native", "--pid", "--duration", "--output"}
FOREIGN_FLAGS = {"--once", "--data-binary", "--data-urlencode"} | RAYS_FLAGS | PROFILERS_FLAGS
"""`--once` is passed through make; the others are curl's."""


def words(pattern: str) -> set[str]:
    """Return everything in the documents that has this form."""
    return {found for document in DOCUMENTS for found in re.findall(pattern, document.read_text("utf-8"))}


def commands(group: click.Command, context: click.Context) -> Iterator[click.Command]:
    """Walk the command tree."""
    yield group
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, context)


def test_every_flag_that_is_named_is_a_flag_of_some_command() -> None:
    """In any document, of any command."""
    context = click.Context(main)
    known = {
        flag
        for command in commands(main, context)
        for option in command.params
        for flag in (*option.opts, *option.secondary_opts)
    }
    known |= set(options()._option_string_actions)

    named = words(r"(?<![\w-])(--[a-z][a-z-]*[a-z])(?!-)") - FOREIGN_FLAGS

    assert len(named) > 10
    assert named <= known, named - known


def documented_metrics() -> dict[str, set[str]]:
    """Return the metrics in the tables of the operations guide, each with its labels."""
    found = {}
    for line in (ROOT / "docs" / "operations.md").read_text("utf-8").splitlines():
        if line.startswith("| `maskline_"):
            names, labels = (re.findall(r"`(\w+)`", cell) for cell in line.split("|")[1:3])
            found.update({name: set(labels) for name in names})
    return found


async def served_metrics(settings: Settings) -> dict[str, set[str]]:
    """Return the metrics of ours that a fresh engine serves before any traffic, each with its labels."""
    async with running_engine(settings) as engine, httpx.AsyncClient(base_url=engine.address) as client:
        control = engine.host.control
        account = await control.create_account(AccountUpdate(friendly_name="Rides"))
        await control.create_service(account.sid, ServiceRequest(unique_name="rides"))
        page = (await client.get("/metrics")).text
    served: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        if family.name.startswith("maskline_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            served[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return served


def plain(directory: Path) -> Settings:
    """Settings with all that is served, a peer of each protocol included."""
    anywhere = ListenAddress("127.0.0.1", 0)
    peer = SipPeerSettings(name="west", networks=("127.0.0.1",))
    return Settings(data_dir=directory, listen=anywhere, sip_listen=anywhere, sip_peers=(peer,))


@pytest.mark.anyio
async def test_the_metrics_that_are_documented_are_those_that_are_served(tmp_path: Path) -> None:
    """By a fresh engine, before any traffic, with the labels that the guide says."""
    settings = replace(plain(tmp_path), metrics_services=1)

    served = await served_metrics(settings)

    assert documented_metrics() == served
    assert words(r"`(maskline_[a-z_]+)") <= served.keys()


@pytest.mark.anyio
async def test_no_service_has_a_metric_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Its name may be nobody else's to see, and the series would grow with the services."""
    served = await served_metrics(plain(tmp_path))

    assert {name for name, labels in served.items() if "service" in labels} == set()
    assert len(served) == len(documented_metrics()) - 6


def test_every_benchmark_is_explained() -> None:
    """A row each, in the order in which they run."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "benchmarks" / "README.md").read_text("utf-8"), re.MULTILINE)

    assert rows == [*BENCHMARKS]


def rows(document: Path, *header: str) -> list[list[str]]:
    """Return the cells of the tables of a document that are headed so."""
    found: list[list[str]] = []
    is_inside = False
    for line in document.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if cells and not set("".join(cells)) <= set("-|"):
            is_inside = cells[: len(header)] == [*header] or (is_inside and cells[0].startswith("`"))
            if is_inside and cells[0] != header[0]:
                found.append(cells)
    return found


def shown(value: object) -> str:
    """Write a default as the documents do."""
    match value:
        case None | "" | ():
            return "empty"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def test_every_setting_stands_once_with_its_default() -> None:
    """In one row of one table of all documents; the tables of the file as `[NAME]`."""
    plain, told = Settings(), Counter[str]()
    for document in DOCUMENTS:
        for names, defaults, *meaning in rows(document, "setting", "default"):
            keys, values = re.findall(r"`\[?(\w+)(?:\.NAME)?\]?`", names), defaults.split(", ")
            told.update(keys)
            assert meaning[0], names
            for key, value in zip(keys, values if len(values) > 1 else values * len(keys), strict=True):
                expected = "none" if SETTINGS[key].tables else shown(getattr(plain, key))
                assert (key, value) == (key, expected), document

    assert set(told) == set(SETTINGS)
    assert {key for key, times in told.items() if times > 1} == set()


@pytest.mark.parametrize(
    ("document", "header", "keys"),
    [
        ("connect.md", "key of `[carriers.NAME]`", CARRIER_KEYS),
        ("sip.md", "key", {*SipPeerSettings.__struct_fields__} - {"name"}),
        ("smpp.md", "field", {*SmppPeer.__struct_fields__} - {"name"}),
    ],
)
def test_every_key_of_a_table_stands_once(document: str, header: str, keys: set[str]) -> None:
    """On the page of those whom the table is about."""
    told = [name for row in rows(ROOT / "docs" / document, header) for name in re.findall(r"`(\w+)`", row[0])]

    assert sorted(told) == sorted(keys)


def test_every_setting_that_is_shown_with_a_value_exists() -> None:
    """`name = value` in the documents."""
    named = words(r"`([a-z_]+) = [^`]+`")

    assert named
    assert named <= set(SETTINGS)


def test_every_file_that_is_named_is_there() -> None:
    """Paths below the packages, and links between documents."""
    named = words(r"`((?:engine|actors|storage|benchmarks|tests)/[\w./]+\.py)`")
    links = {
        (document.parent / link).resolve()
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([\w./]+\.md)", document.read_text("utf-8"))
    }

    assert {name for name in named if not (ROOT / name).is_file()} == set()
    assert {link for link in links if not link.is_file()} == set()


def test_the_items_of_the_batch_document_can_be_read() -> None:
    """Its example, its fields of every operation, its limits."""
    document = (ROOT / "docs" / "batch.md").read_text("utf-8")
    example = "\n".join(re.findall(r"^\{.*(?:Participants|Operation).*\}$", document, re.MULTILINE)).replace(
        "KC…", "KC" + "0" * 32
    )

    items = list(read_items(example.encode(), BatchForm.LINES))

    assert [type(item) for item in items] == [CreateItem, UpdateItem, UpdateItem]
    fields = {"IdempotencyKey"}
    for shape, operation in (
        (BatchCreate, "`create`, or left out"),
        (BatchUpdate, "`update`"),
        (BatchClose, "`close`"),
    ):
        (row,) = re.findall(rf"^\| {operation} \| (.*) \|$", document, re.MULTILINE)
        named = {*re.findall(r"`([A-Z]\w+)`", row), *fields}
        of_people = set(BatchParticipant.__struct_encode_fields__) if shape is BatchCreate else set()
        assert named == set(shape.__struct_encode_fields__) | of_people
    for limit in (MAX_ITEMS, MAX_ITEM_BYTES, MAX_KEY):
        assert f"{limit:,}" in document
    assert f"`batch_key_hours` ({Settings().batch_key_hours})" in document
    assert f"{Settings().max_batch_body_bytes // 2**20} MiB" in document
    assert f"{BATCHES_AT_ONCE} batches of the account" in document


def test_the_readme_counts_the_recorded_webhooks() -> None:
    """As many as the file has lines."""
    traffic = (ROOT / "engine" / "demo" / "traffic.ndjson").read_text("utf-8").splitlines()

    (counted,) = re.findall(r"plays (\d+) recorded", (ROOT / "README.md").read_text("utf-8"))

    assert int(counted) == len(traffic)


def test_the_owner_of_every_table_is_told() -> None:
    """Those that all hosts have, and those whose rows have an owner each."""
    text = (ROOT / "docs" / "rebalance.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", text, re.MULTILINE)

    told = {name: where for names, where in rows for name in re.findall(r"`(\w+)`", names)}

    assert {name for name, where in told.items() if where == "every host"} == {*SHARED}
    assert {name for name, where in told.items() if where != "every host"} == {table.name for table in OWNED}


def test_the_leases_between_hosts_are_as_told() -> None:
    """Seconds that a host routes unheard, and how often it is told."""
    told = (ROOT / "docs" / "between-hosts.md").read_text("utf-8")

    assert f"`LEASE_SECONDS` ({LEASE_SECONDS:g})" in told
    assert "at least twice a second" in told
    assert BEAT_SECONDS == 0.5


def test_the_limits_of_the_console_are_told() -> None:
    """As the code has them."""
    text = " ".join((ROOT / "docs" / "console.md").read_text("utf-8").split())
    logins, console = LoginLimits(), ConsoleSettings()

    for told in (
        f"good once, for {logins.link_seconds / 60:g} minutes",
        f"after {logins.idle_seconds / 60:g} minutes without activity, after {logins.longest_seconds / 3600:g} hours",
        f"{logins.most_of_owner} at a time for an account",
        f"{console.failed_logins} failed logins within {console.login_window_seconds / 60:g} minutes",
        f"{console.failed_logins_in_all} make everybody wait",
        f"{console.requests_per_second} requests a second of a login on average over {console.window_seconds} seconds",
        f"forms of at most {MAX_FORM_BYTES} bytes",
        f"the latest {PAGE_ROWS} interactions",
        f"averages of the last {WINDOW_SECONDS:g} seconds",
        f"Hosts are given {ANSWER_SECONDS:g} seconds",
    ):
        assert told in text
