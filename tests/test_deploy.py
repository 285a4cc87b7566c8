"""The ops kit fits the engine: metrics, labels, flags, settings, files. promtool and Prometheus are `make ops-test`."""

import configparser
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

import click
import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict

from engine.app import running_engine
from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from engine.cli import main
from engine.core.model.requests import AccountUpdate, ServiceRequest
from engine.settings import SETTINGS, VARIABLE_PREFIX, Settings, load_settings
from tests.docs_world import command_of, flags_of
from tests.ops.kit import (
    DASHBOARDS,
    DEPLOY,
    PROMETHEUS,
    ROOT,
    Selector,
    alert_cases,
    dashboard,
    panels,
    rules,
    selectors,
)

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""

Series = Mapping[str, list[dict[str, str]]]
"""Label sets by the name of the sample."""


async def served_series(data_dir: Path, *, database_url: str = "") -> Series:
    """Return the series of a fresh engine with one service, on files or on a database."""
    anywhere = ListenAddress("127.0.0.1", 0)
    peer = SipPeerSettings(name="west", networks=("127.0.0.1",))
    settings = Settings(
        data_dir=data_dir,
        listen=anywhere,
        metrics_services=1,
        sip_listen=anywhere,
        sip_peers=(peer,),
        database_url=database_url,
        database_replicas=0,
    )
    async with running_engine(settings) as engine, httpx.AsyncClient(base_url=engine.address) as client:
        control = engine.host.control
        account = await control.create_account(AccountUpdate(friendly_name="Rides"))
        await control.create_service(account.sid, ServiceRequest(unique_name="rides"))
        page = (await client.get("/metrics")).text
    found: dict[str, list[dict[str, str]]] = {"up": [{}]}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def is_served(selector: Selector, series: Series) -> bool:
    """Tell whether some series meets what is asked, as far as the engine gives the labels."""
    matchers = [one for one in selector.matchers if one.label not in SCRAPED]
    return any(
        all(one.label in labels and one.meets(labels[one.label]) for one in matchers)
        for labels in series.get(selector.metric, [])
    )


def unserved(expressions: Iterable[str], series: Series) -> list[Selector]:
    """Return what expressions ask for and no series meets."""
    recorded = {rule.name for rule in rules() if not rule.is_alert}
    asked = [one for expr in expressions for one in selectors(expr)]
    assert asked
    return [one for one in asked if one.metric not in recorded and not is_served(one, series)]


@pytest.mark.anyio
async def test_rules_and_panels_ask_for_series_that_are_served(tmp_path: Path, database: str) -> None:
    """By a fresh engine, on files or on a database: names, labels and label values."""
    of_files, of_database = await served_series(tmp_path), await served_series(tmp_path, database_url=database)
    names = of_files.keys() | of_database.keys()
    series = {name: [*of_files.get(name, ()), *of_database.get(name, ())] for name in names}

    wanted = [
        *(rule.expr for rule in rules()),
        *(expr for path in DASHBOARDS for panel in panels(path) for expr, _ in panel.targets),
    ]

    assert unserved(wanted, series) == []


def test_an_expression_that_asks_for_something_else_is_found() -> None:
    """What the test above stands on."""
    series: Series = {"maskline_events_total": [{"outcome": "routed"}], "maskline_ready": [{}]}
    good = 'rate(maskline_events_total{outcome=~"rou.*",instance=~"$instance"}[5m]) / on () maskline_ready'
    bad = 'maskline_event_total + maskline_events_total{outcome="lost"} + maskline_events_total{result="routed"}'

    assert unserved([good], series) == []
    assert len(unserved([bad], series)) == 3


def test_legends_and_groupings_name_labels_that_there_are() -> None:
    """A legend's label is one that its query keeps."""
    for panel in (panel for path in DASHBOARDS for panel in panels(path)):
        for expr, legend in panel.targets:
            kept = {label.strip() for found in re.findall(r"by \(([^)]*)\)", expr) for label in found.split(",")}
            named = set(re.findall(r"\{\{(\w+)\}\}", legend))
            assert named <= kept | SCRAPED, (panel.title, named - kept)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap_and_say_what_they_show(path: Path) -> None:
    """On the grid of 24 columns, each with an id of its own."""
    all_panels = dashboard(path)["panels"]
    cells = [
        {
            (x, y)
            for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
            for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
        }
        for one in all_panels
    ]

    assert len({one["id"] for one in all_panels}) == len(all_panels)
    assert all(not first & second for first, second in combinations(cells, 2))
    assert all(x < 24 for found in cells for x, _ in found)
    assert all(panel.title and panel.targets for panel in panels(path))


def test_every_alert_has_a_runbook_and_a_case() -> None:
    """And there is none of either for an alert that does not exist."""
    alerts = {rule.name: rule for rule in rules() if rule.is_alert}
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")

    assert re.findall(r"^### (Maskline\w+)$", guide, re.MULTILINE) == list(alerts)
    assert [case["name"] for case in alert_cases()] == list(alerts)
    for name, alert in alerts.items():
        assert alert.annotations["runbook"] == f"docs/operations.md#{name.lower()}"
        assert alert.severity in {"critical", "warning", "info"}


def test_every_alert_leads_to_a_panel_that_draws_what_it_is_about() -> None:
    """By the panel's number; to the whole dashboard where no panel does."""
    drawn = {one["id"]: one for one in dashboard()["panels"]}
    shown = {
        number: {_base(one.metric) for target in panel.get("targets", ()) for one in selectors(target["expr"])}
        for number, panel in drawn.items()
    }
    for rule in (one for one in rules() if one.is_alert):
        asked = {_base(one.metric) for one in selectors(rule.expr)}
        link, _, panel = rule.annotations["dashboard"].partition("?viewPanel=")
        assert link == f"/d/{dashboard()['uid']}"
        if panel:
            assert asked & shown[int(panel)] or rule.name in _RELATED, rule.name
        else:
            assert not any(asked & one for one in shown.values()), rule.name


_RELATED = {"MasklineDatabaseNotReplicated", "MasklineDown", "MasklineNotReady", "MasklineRestarts"}
"""Alerts on what no panel draws, whose panel shows what follows from it."""


def _base(metric: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", metric)


def test_links_within_the_guide_lead_somewhere() -> None:
    """Runbooks point to each other."""
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")
    titles = re.findall(r"^#+ (.*)$", guide, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}

    links = set(re.findall(r"\]\(#([\w-]+)\)", guide))

    assert len(links) > 5
    assert links <= anchors, links - anchors


def test_prometheus_scrapes_the_job_that_the_alerts_ask_for() -> None:
    """And reads the rules beside its configuration."""
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    asked = {
        one.value for rule in rules() for found in selectors(rule.expr) for one in found.matchers if one.label == "job"
    }

    assert {job["job_name"] for job in configuration["scrape_configs"]} == asked
    assert all((PROMETHEUS / name).is_file() for name in configuration["rule_files"])


def test_the_unit_runs_a_command_that_exists() -> None:
    """With flags of `maskline serve`, and as nobody important."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # keys of a unit are case-sensitive
    unit.read(DEPLOY / "systemd" / "maskline.service", "utf-8")
    program, command, *rest = unit["Service"]["ExecStart"].split()
    serve = main.get_command(click.Context(main), command)

    assert serve is not None
    assert Path(program).name == "maskline"
    assert {word for word in rest if word.startswith("--")} <= {flag for one in serve.params for flag in one.opts}
    assert unit["Service"]["User"] == "maskline"


def test_the_image_is_made_of_what_is_there() -> None:
    """Files that are copied exist and reach the builder; variables are settings of ours."""
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    let_in = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = [
        name
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    variables = re.findall(rf"\b{VARIABLE_PREFIX}(\w+)=", dockerfile)

    assert {"runtime.lock", "engine"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert {f"!{name}" for name in copied} <= set(let_in)
    assert {name.lower() for name in variables} <= set(SETTINGS)


def test_the_failover_to_look_at_is_made_of_what_is_there() -> None:
    """Files that are built from exist, what is named runs, variables are settings; with no docker it is not run."""
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.failover.yaml").read_text("utf-8"))
    services = compose["services"]
    built = {ROOT / one["build"]["dockerfile"] for one in services.values() if "build" in one}
    copied = [
        name
        for path in built
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("COPY deploy")
        for name in line.split()[1:-1]
    ]
    nodes = [one["environment"] for name, one in services.items() if name.startswith("node")]
    asked = conninfo_to_dict(nodes[0]["MASKLINE_DATABASE_URL"])["host"]
    mounted = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", ())}

    assert all(path.is_file() for path in built)
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert {depended for one in services.values() for depended in one.get("depends_on", ())} <= services.keys()
    assert mounted == compose["volumes"].keys()
    assert len(nodes) == 2
    assert {name.removeprefix(VARIABLE_PREFIX).lower() for name in nodes[0] if name != "PGPASSWORD"} <= set(SETTINGS)
    assert str(asked).split(",") == sorted(
        one["environment"]["PATRONI_NAME"]
        for one in services.values()
        if one["image"] == "maskline-postgres" and "build" in one
    )


def variables_of(dockerfile: str) -> dict[str, str]:
    """Return what a Dockerfile sets for whatever runs in the image."""
    return dict(re.findall(rf"^ +({VARIABLE_PREFIX}\w+)=(\S+)", dockerfile, re.MULTILINE))


def test_the_image_serves_where_it_says() -> None:
    """What it runs is a command; it listens where it is looked at; its data is in the volume."""
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    said = {
        name: json.loads(words) for name, words in re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", dockerfile, re.MULTILINE)
    }
    port = variables_of(dockerfile)["MASKLINE_LISTEN"].rpartition(":")[2]

    assert said["ENTRYPOINT"] == [*project["scripts"]]
    assert main.get_command(click.Context(main), *said["CMD"]) is not None
    assert re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE) == [port]
    assert f"http://127.0.0.1:{port}/healthz" in dockerfile
    assert re.findall(r"^VOLUME (\S+)$", dockerfile, re.MULTILINE) == [variables_of(dockerfile)["MASKLINE_DATA_DIR"]]


@pytest.mark.parametrize("path", sorted((DEPLOY / "docker").glob("compose*.yaml")), ids=lambda path: path.stem)
def test_what_a_compose_file_says_to_type_can_be_typed(path: Path) -> None:
    """Its own path, services that it has, commands of ours with flags of theirs."""
    services = yaml.safe_load(path.read_text("utf-8"))["services"]
    lines = re.findall(r"^#\s+docker compose (.*?)\s*(?:#.*)?$", path.read_text("utf-8"), re.MULTILINE)

    assert lines
    for line in lines:
        option, file, verb, *rest = line.split()
        assert (option, ROOT / file) == ("--file", path)
        if verb in {"exec", "kill"}:
            assert rest[0] in services, line
        if verb == "exec":
            program, *words = rest[1:]
            command, left = command_of(words)
            assert program == "maskline"
            assert not isinstance(command, click.Group), line
            assert {word for word in left if word.startswith("--")} <= flags_of(command), line


def test_the_nodes_of_the_failover_publish_what_they_listen_on() -> None:
    """On ports of their own, from where something listens; data is in the image's volume, settings go together."""
    services = yaml.safe_load((DEPLOY / "docker" / "compose.failover.yaml").read_text("utf-8"))["services"]
    image = variables_of((DEPLOY / "docker" / "Dockerfile").read_text("utf-8"))
    nodes = {name: one for name, one in services.items() if one.get("image") == "maskline"}
    taken = [port.partition(":")[0] for one in nodes.values() for port in one["ports"]]

    assert len(set(taken)) == len(taken) == 2 * len(nodes)
    for name, node in nodes.items():
        told = {**image, **node["environment"]}
        listens = {told[key].rpartition(":")[2] for key in ("MASKLINE_LISTEN", "MASKLINE_FEED_LISTEN")}
        assert {port.partition(":")[2] for port in node["ports"]} == listens
        assert node["volumes"] == [f"{name}:{told['MASKLINE_DATA_DIR']}"]
        assert told["MASKLINE_NODE_NAME"] == name
        given = {
            name.removeprefix(VARIABLE_PREFIX).lower(): text for name, text in told.items() if name != "PGPASSWORD"
        }
        assert load_settings(config=None, environ={}, flags=given).settings.is_node


def test_the_servers_of_the_failover_find_each_other() -> None:
    """By the ports of Patroni's file and etcd's, each under its own name, with a password for each role."""
    services = yaml.safe_load((DEPLOY / "docker" / "compose.failover.yaml").read_text("utf-8"))["services"]
    patroni = yaml.safe_load((DEPLOY / "postgres" / "patroni.yml").read_text("utf-8"))
    image = (DEPLOY / "docker" / "patroni.Dockerfile").read_text("utf-8")
    etcd = (DEPLOY / "docker" / "etcd.Dockerfile").read_text("utf-8")
    keepers = {name: one["command"] for name, one in services.items() if name.startswith("etcd")}
    servers = {name: one["environment"] for name, one in services.items() if name.startswith("pg")}

    assert patroni["etcd3"]["hosts"] == [f"{name}:2379" for name in keepers]
    assert f"--initial-cluster={','.join(f'{name}=http://{name}:2380' for name in keepers)}" in etcd
    for name, command in keepers.items():
        assert f"--name={name}" in command
        assert f"--initial-advertise-peer-urls=http://{name}:2380" in command
        assert f"--advertise-client-urls=http://{name}:2379" in command
    for name, told in servers.items():
        assert told["PATRONI_NAME"] == name
        for part in ("restapi", "postgresql"):
            port = patroni[part]["listen"].rpartition(":")[2]
            assert told[f"PATRONI_{part.upper()}_CONNECT_ADDRESS"] == f"{name}:{port}"
        assert {f"PATRONI_{role.upper()}_PASSWORD" for role in patroni["postgresql"]["authentication"]} <= told.keys()
        ((volume, _, place),) = (one.partition(":") for one in services[name]["volumes"])
        assert (volume, Path(patroni["postgresql"]["data_dir"]).parent) == (name, Path(place))
    version = re.findall(r"^FROM postgres:(\d+)-", image, re.MULTILINE)
    assert patroni["postgresql"]["bin_dir"].split("/")[-2:-1] == version
    assert re.findall(r"^COPY \S+ (\S+)$", image, re.MULTILINE) == json.loads(
        re.findall(r"^CMD (.*)$", image, re.MULTILINE)[0]
    )


def test_the_database_of_the_failover_is_the_one_that_nodes_connect_to() -> None:
    """The role, its password and its database are made on the servers that are named in `database_url`."""
    services = yaml.safe_load((DEPLOY / "docker" / "compose.failover.yaml").read_text("utf-8"))["services"]
    made, node = services["database"], services["node1"]["environment"]
    asked = conninfo_to_dict(node["MASKLINE_DATABASE_URL"])
    script = made["entrypoint"][-1]

    assert made["environment"]["PGHOST"] == asked["host"]
    assert made["environment"]["PGPASSWORD"] == services["pg1"]["environment"]["PATRONI_SUPERUSER_PASSWORD"]
    assert f"CREATE ROLE {asked['user']} LOGIN PASSWORD '{node['PGPASSWORD']}' IN ROLE pg_monitor" in script
    assert f"CREATE DATABASE {asked['dbname']} OWNER {asked['user']}" in script
    assert subprocess.run(["/bin/sh", "-nc", script], check=False).returncode == 0  # noqa: S603 - it is only parsed


def test_patroni_is_set_as_the_guide_says() -> None:
    """And as it asks of itself: a lease of a primary outlasts two tries."""
    settings = yaml.safe_load((DEPLOY / "postgres" / "patroni.yml").read_text("utf-8"))["bootstrap"]["dcs"]
    guide = (ROOT / "docs" / "postgres.md").read_text("utf-8")
    table = guide.partition("## The database")[2].partition("## The server")[0]
    said = dict(re.findall(r"`?(\w+): ([\w]+)`?", " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))
    flat = {**settings, **settings["postgresql"], **settings["postgresql"]["parameters"]}

    assert len(said) >= 10
    assert {name: yaml.safe_load(value) for name, value in said.items()} == {
        name: yaml.safe_load(str(flat[name]).lower()) for name in said
    }
    assert settings["ttl"] >= settings["loop_wait"] + 2 * settings["retry_timeout"]


def test_the_image_has_the_versions_that_are_tested() -> None:
    """Its lock is part of the other one, and has all that the engine needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.match(r"[\w.-]+", wanted)[0] for wanted in project["dependencies"]}  # type: ignore[index] # a name begins each
    pins = {
        name: set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))
        for name in ("runtime.lock", "requirements.lock")
    }

    assert needed <= {pin.partition("==")[0] for pin in pins["runtime.lock"]}
    assert pins["runtime.lock"] <= pins["requirements.lock"]
    assert not any(pin.startswith(("pytest==", "ruff==", "fastapi==")) for pin in pins["runtime.lock"])


def test_what_builds_the_image_is_not_left_in_it() -> None:
    """Each of the group's tools, and the type checker that compiles."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    tools = {wanted.partition("~=")[0] for wanted in groups["image"]} | {"mypy"}

    removed = re.search(r"pip uninstall --yes (.+)", (DEPLOY / "docker" / "Dockerfile").read_text("utf-8"))

    assert removed is not None
    assert set(removed[1].split()) == tools


def test_the_wheel_carries_the_kit(tmp_path: Path) -> None:
    """Below the share directory of whatever it is installed into."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - the locked build backend

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(".data/data/share/maskline/")[2] for name in archive.namelist()}

    here = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()}
    assert here
    assert here <= names
