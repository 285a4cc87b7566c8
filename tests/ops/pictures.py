"""Draw the dashboard from what `make ops-test` has seen: `pictures.py SEEN.json DIRECTORY`; needs matplotlib only."""

import json
import math
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter
from PIL import Image

PICTURES = {
    "dashboard-traffic.png": ("Overview", "Traffic", "Latency"),
    "dashboard-state.png": (
        "Sessions and pools",
        "Outbox and hooks",
        "Commit and storage",
        "REST and debugger",
        "Hosts",
    ),
}
"""The rows that each picture shows."""

COLUMNS, CELL_INCHES = 24, (0.8, 0.5)
COLOURS = 128
"""Of a picture; a third of the size in all colours."""
MOST_NAMED = 6
"""Series that a legend has room for."""
LONGEST_NAME = 56
"""Characters of a name in a legend."""

Panel = dict[str, Any]


def main(seen: Path, directory: Path) -> None:
    """Draw all pictures."""
    mpl.use("Agg")
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.grid": True, "grid.alpha": 0.3})
    panels: list[Panel] = json.loads(seen.read_text("utf-8"))
    for name, rows in PICTURES.items():
        draw([panel for panel in panels if panel["row"] in rows], directory / name)


def draw(panels: list[Panel], path: Path) -> None:
    """Draw panels at their places."""
    top = min(panel["place"][1] for panel in panels) - 1
    height = max(panel["place"][1] + panel["place"][3] for panel in panels) - top
    figure = plt.figure(figsize=(COLUMNS * CELL_INCHES[0], height * CELL_INCHES[1]))
    titled: set[str] = set()
    for panel in panels:
        x, y, width, high = panel["place"]
        if panel["row"] not in titled:
            titled.add(panel["row"])
            figure.text(
                0.3 / COLUMNS, 1 - (y - top - 0.5) / height, panel["row"], fontsize=13, va="center", color="#555"
            )
        room = 0.2 if panel["kind"] == "stat" else 2.0  # for the legend and the times
        box = (
            (x + 1.1) / COLUMNS,
            1 - (y - top + high - room) / height,
            (width - 1.5) / COLUMNS,
            (high - room - 0.9) / height,
        )
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], loc="left", fontweight="bold")
        _KINDS[panel["kind"]](axes, panel)
    figure.savefig(path, dpi=75, facecolor="white")
    plt.close(figure)
    Image.open(path).quantize(COLOURS).save(path, optimize=True)


def stat(axes: Any, panel: Panel) -> None:  # noqa: ANN401 - the library ships no types here
    """Draw the latest value in large type."""
    values = [value for one in panel["targets"][0]["series"] for _, value in finite(one)]
    axes.axis("off")
    axes.text(0.5, 0.4, shown(values[-1], panel["unit"]), fontsize=24, ha="center", va="center", color="#2a6f97")


def lines(axes: Any, panel: Panel) -> None:  # noqa: ANN401
    """Draw series over time, stacked or not."""
    drawn = [
        (named(target["legend"], one["metric"]), finite(one)) for target in panel["targets"] for one in target["series"]
    ]
    drawn = [(name, points) for name, points in drawn if points]
    if not panel["is_stacked"]:
        drawn.sort(key=lambda one: -max(value for _, value in one[1]))
    start = min(points[0][0] for _, points in drawn)
    if panel["is_stacked"]:
        times = sorted({at for _, points in drawn for at, _ in points})
        rows = [[dict(points).get(at, 0.0) for at in times] for _, points in drawn]
        axes.stackplot([at - start for at in times], rows, labels=[name for name, _ in drawn], alpha=0.8)
    else:
        for name, points in drawn:
            axes.plot([at - start for at, _ in points], [value for _, value in points], label=name, linewidth=1.2)
        if panel["is_log"]:
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, panel["unit"])))
    axes.margins(x=0)
    handles, labels = axes.get_legend_handles_labels()
    labels = [one if len(one) <= LONGEST_NAME else f"{one[: LONGEST_NAME - 1]}…" for one in labels]
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.legend(
        handles[:MOST_NAMED],
        labels[:MOST_NAMED],
        loc="upper left",
        bbox_to_anchor=(-0.05, -0.13),
        ncol=_columns(panel, labels[:MOST_NAMED]),
        fontsize=7.5,
        frameon=False,
        borderpad=0,
        columnspacing=1,
    )


def _columns(panel: Panel, labels: list[str]) -> int:
    """Tell how many names stand beside each other."""
    characters = int(panel["place"][2]) * 9  # that a panel is wide
    return max(1, min(3, characters // (max(map(len, labels)) + 6)))


def heat(axes: Any, panel: Panel) -> None:  # noqa: ANN401
    """Draw how many fell into each bucket, over time."""
    found = {
        float(one["metric"]["le"].replace("+Inf", "inf")): dict(finite(one)) for one in panel["targets"][0]["series"]
    }
    bounds = sorted(found)
    times = sorted({at for points in found.values() for at in points})
    below = [[0.0] * len(times), *([found[bound].get(at, 0.0) for at in times] for bound in bounds)]
    cells = [[max(0.0, b - a) for a, b in zip(low, high, strict=True)] for low, high in pairwise(below)]
    shades = [[math.sqrt(value) if value else math.nan for value in row] for row in cells]
    axes.imshow(
        shades, aspect="auto", origin="lower", cmap="Oranges", extent=(0, times[-1] - times[0], -0.5, len(bounds) - 0.5)
    )
    axes.set_yticks(range(0, len(bounds), 2), [shown(bounds[place], "s") for place in range(0, len(bounds), 2)])
    axes.grid(visible=False)


def finite(series: dict[str, Any]) -> list[tuple[float, float]]:
    """Return the samples that are numbers."""
    samples = ((float(at), float(value)) for at, value in series["values"])
    return [(at, value) for at, value in samples if math.isfinite(value)]


def named(legend: str, labels: dict[str, str]) -> str:
    """Fill the labels into a legend."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).replace("127.0.0.1:", ":")


def shown(value: float, unit: str) -> str:
    """Write a value with its unit, short."""
    if value == math.inf:
        return "more"
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        return _scaled(value, ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")))
    if unit == "bytes":
        return _scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))
    return _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))) + ("/s" if unit in {"reqps", "ops"} else "")


def _scaled(value: float, scales: tuple[tuple[float, str], ...]) -> str:
    for scale, name in scales:
        if abs(value) >= scale:
            return f"{value / scale:.3g} {name}".strip()
    return f"{value:.2g} {scales[-1][1]}".strip() if value and scales[-1][0] >= 1 else f"0 {scales[-1][1]}".strip()


_KINDS = {"stat": stat, "timeseries": lines, "heatmap": heat}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
