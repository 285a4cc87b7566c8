"""What mypyc compiles: the tests run on what they say they run on."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[1]
HOOKS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
SOURCES = [ROOT / name.removeprefix("/") for name in HOOKS["mypyc"]["include"]]

ENDLESS = {"count", "cycle", "repeat"}
"""Of itertools."""


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_no_coroutine_is_compiled(source: Path) -> None:
    """Those of mypyc (mypy 2.4) spoil memory where what they await raises; futures may be returned."""
    nodes = ast.walk(ast.parse(source.read_text()))

    assert not any(isinstance(node, ast.AsyncFunctionDef) for node in nodes)


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_no_endless_iterator_is_compiled(source: Path) -> None:
    """In mypyc a generator expression is a list: over `itertools.count` it would take all memory."""
    nodes = list(ast.walk(ast.parse(source.read_text())))

    imported = {
        one.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "itertools"
        for one in node.names
    }
    reached = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    assert not imported & ENDLESS
    assert not reached & {f"itertools.{name}" for name in ENDLESS}


def test_a_build_that_was_killed_breaks_no_later_task(tmp_path: Path) -> None:
    """It leaves pyproject.toml renamed; whatever task is next takes it back, as old as it was, and leaves the other."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy2(ROOT / "pyproject.toml", tmp_path / "pyproject.toml.bak")

    subprocess.run(["make", "help"], cwd=tmp_path, check=True, capture_output=True, timeout=30)  # noqa: S607

    found, left = tmp_path / "pyproject.toml", tmp_path / "pyproject.toml.bak"
    assert found.read_bytes() == left.read_bytes() == (ROOT / "pyproject.toml").read_bytes()
    assert found.stat().st_mtime == left.stat().st_mtime


_PYTHON = """#!/bin/sh
# Takes the place of Python, and notes what it was asked for; what it makes is not whole for a while.
case "$*" in
  -c*) exit 0 ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
echo "$*" >>asked
sleep 0.2
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock here: each make sets up by itself")
def test_two_makes_at_once_set_up_once(tmp_path: Path) -> None:
    """The second waits for the first, and finds nothing left to do."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    command = ["make", "setup", f"PYTHON={python}", "TO_COMPILE="]

    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(2)]  # noqa: S603
    said = [one.communicate(timeout=60)[1] for one in both]

    assert [one.returncode for one in both] == [0, 0], said
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "-m venv .venv"
    assert len(asked) == len(set(asked)) + (shutil.which("cc") is not None)  # it is installed once more, compiled


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_a_record_is_what_its_class_says(source: Path) -> None:
    """Mypyc drops the keywords of a class: they take effect through the bases of `engine.core.structs`."""
    module = importlib.import_module(".".join(source.relative_to(ROOT).with_suffix("").parts))
    said, done = {}, {}
    for node in ast.parse(source.read_text()).body:
        kind = getattr(module, node.name) if isinstance(node, ast.ClassDef) else None
        if isinstance(node, ast.ClassDef) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            keywords = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords if one.arg != "kw_only"}
            said[node.name] = keywords
            done[node.name] = {name: getattr(kind.__struct_config__, name) for name in keywords}

    assert done == said


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_the_build_in_use_is_the_one_asked_for(source: Path) -> None:
    """Compiled from the source as it is, but with `-p tests.interpreted`, which takes the source."""
    name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    file = importlib.import_module(name).__file__
    assert file is not None
    is_compiled = not file.endswith(".py")  # mypyc tells of other folders at times

    if "tests.interpreted" in sys.modules:
        assert not is_compiled
        return
    if not is_compiled and "CI" not in os.environ and shutil.which("cc") is None:
        pytest.skip("there is no C compiler here")
    assert is_compiled, "it is not: `make setup`"
    (built,) = source.parent.glob(f"{source.stem}.*.so")
    assert built.stat().st_mtime > source.stat().st_mtime, "it has changed since it was compiled: `make setup`"
