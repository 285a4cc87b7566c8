"""What the ops kit asks of the metrics: every expression of the rules and the dashboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
GRAFANA = DEPLOY / "grafana"
DASHBOARDS = DASHBOARD, SERVICES = GRAFANA / "maskline.json", GRAFANA / "maskline-services.json"

_SELECTOR = re.compile(r"(?<![\w:$])((?:maskline|process|python|up)(?:[_:]\w+)*)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


class Matcher(msgspec.Struct, frozen=True):
    """A condition on a label."""

    label: str
    sign: str
    """=, !=, =~ or !~."""
    value: str

    def meets(self, value: str) -> bool:
        """Tell whether a label's value meets it."""
        found = bool(re.fullmatch(self.value, value)) if "~" in self.sign else self.value == value
        return found is not self.sign.startswith("!")


class Selector(msgspec.Struct, frozen=True):
    """Series that an expression asks for."""

    metric: str
    """With the suffix of the sample."""
    matchers: tuple[Matcher, ...]


class Rule(msgspec.Struct, frozen=True):
    """A rule of the rules file."""

    name: str
    expr: str
    is_alert: bool
    annotations: dict[str, str]
    severity: str


class Panel(msgspec.Struct, frozen=True):
    """A panel of the dashboard."""

    title: str
    kind: str
    """timeseries, stat or heatmap."""
    unit: str
    place: tuple[int, int, int, int]
    """x, y, width and height on the grid."""
    row: str
    """Title of the row that it stands in."""
    is_stacked: bool
    is_log: bool
    """The axis of values is logarithmic."""
    targets: tuple[tuple[str, str], ...]
    """Expression and legend of each query."""


def rules() -> list[Rule]:
    """Read the rules file."""
    groups = yaml.safe_load((PROMETHEUS / "maskline.rules.yml").read_text("utf-8"))["groups"]
    return [
        Rule(
            rule.get("alert") or rule["record"],
            rule["expr"],
            "alert" in rule,
            rule.get("annotations", {}),
            rule.get("labels", {}).get("severity", ""),
        )
        for group in groups
        for rule in group["rules"]
    ]


def alert_cases() -> list[dict[str, Any]]:
    """Read the cases of the alerts."""
    cases: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "maskline.test.yml").read_text("utf-8"))["tests"]
    return cases


def dashboard(path: Path = DASHBOARD) -> dict[str, Any]:
    """Read a dashboard."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def panels(path: Path = DASHBOARD) -> list[Panel]:
    """Read a dashboard's panels, its rows left out."""
    found: list[Panel] = []
    row = ""
    for panel in dashboard(path)["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            found.append(_panel(panel, row))
    return found


def _panel(panel: dict[str, Any], row: str) -> Panel:
    grid, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    drawn = defaults.get("custom", {})
    return Panel(
        title=panel["title"],
        kind=panel["type"],
        unit=defaults.get("unit", ""),
        place=(grid["x"], grid["y"], grid["w"], grid["h"]),
        row=row,
        is_stacked=drawn.get("stacking", {}).get("mode") == "normal",
        is_log=drawn.get("scaleDistribution", {}).get("type") == "log",
        targets=tuple((target["expr"], target["legendFormat"]) for target in panel["targets"]),
    )


def selectors(expr: str) -> Iterator[Selector]:
    """Find the series that an expression asks for; what Grafana fills in is no condition."""
    for metric, conditions in _SELECTOR.findall(expr):
        found = (Matcher(*parts) for parts in _MATCHER.findall(conditions))
        yield Selector(metric, tuple(one for one in found if "$" not in one.value))
