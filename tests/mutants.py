"""Change modules one place at a time and show the changes that no test notices (`make mutants`).

mutmut works on a copy of the tree below build/mutants, on the sources of what is compiled too. Arguments are modules;
behind `--` may stand the tests to run instead of those that run in process. Exits with 1 if a change passed, with 2 if
it could not be tried.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = ROOT / "build" / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")

PACKAGES = ("engine", "actors", "storage")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
BESIDE = ("tests", "benchmarks", "deploy", "docs", *PAGES, "Makefile", "pyproject.toml")
IN_PROCESS = tuple(
    f"tests/{name}"
    for name in ("core", "formats", "channels", "http", "outbound", "webhooks", "actors", "storage", "telemetry")
)

NOTICED = frozenset({1, 3, 24, 36, 152, 255, -24})
"""How a run ends when a test fails, pytest fails, or nothing ends in time."""


def main(arguments: Sequence[str]) -> int:
    """Try the modules, print for each what share of its changes was noticed and the lines of those that were not."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    modules, tests = arguments[:end], arguments[end + 1 :] or IN_PROCESS
    if not modules or not all((ROOT / module).is_file() for module in modules):
        sys.stderr.write(
            'name modules by their path: make mutants ARGS="engine/core/routing/legs.py actors/traffic/number.py"\n'
        )
        return 2
    _copy(modules, tests)
    log = COPY / "mutmut.log"
    with log.open("wb") as written:
        ended = subprocess.run(  # noqa: S603 - our own command
            [MUTMUT, "run"], cwd=COPY, stdout=written, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode:
        sys.stderr.write(f"mutmut ended with {ended.returncode}, see {log.relative_to(ROOT)}\n")
        return 2
    return int(sum(map(_passed, modules)) > 0)


def _copy(modules: Sequence[str], tests: Sequence[str]) -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in (*PACKAGES, *BESIDE):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, COPY / name)
    settings = {
        "source_paths": PACKAGES,
        "only_mutate": modules,
        "also_copy": BESIDE,
        "pytest_add_cli_args_test_selection": [*tests, "-n0", "-p", "no:randomly", "-p", "tests.interpreted"],
        "process_isolation": "forkserver",
    }
    with (COPY / "pyproject.toml").open("a") as pyproject:
        pyproject.write("\n[tool.mutmut]\n")
        pyproject.writelines(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def _passed(module: str) -> int:
    meta = COPY / "mutants" / f"{module}.meta"
    ends = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}
    passed = [key for key, code in ends.items() if code not in NOTICED]
    noticed = len(ends) - len(passed)
    sys.stdout.write(f"{module}: {noticed} of {len(ends)} noticed, {100 * noticed // max(len(ends), 1)} %\n")
    for key in passed:
        show = [MUTMUT, "show", key]
        diff = subprocess.run(show, cwd=COPY, capture_output=True, text=True, check=False).stdout  # noqa: S603 - as above
        changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
        sys.stdout.write("\n".join([f"  {key}", *(f"    {line}" for line in changed), ""]))
    return len(passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
