"""docs/architecture.md describes the tree as it is: its folders, its layers, and every step of the walks."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
STEP = re.compile(r"`((?:engine|actors|storage)/[\w/]+\.py):([\w.]+)`")
STEPS = [
    (document, *step)
    for document in ("README.md", "CONTRIBUTING.md", "docs/architecture.md")
    for step in STEP.findall((ROOT / document).read_text("utf-8"))
]


_NAMED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def names_in(path: str) -> frozenset[str]:
    """Return every function and class of a file, members with their class too, and what it assigns at its top."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    named = [one for one in ast.walk(tree) if isinstance(one, _NAMED)]
    names = {one.name for one in named}
    for one in named:
        methods = [member.name for member in one.body if isinstance(member, _NAMED)]
        fields = [member.target for member in one.body if isinstance(member, ast.AnnAssign)]
        members = [*methods, *(field.id for field in fields if isinstance(field, ast.Name))]
        names.update(f"{one.name}.{member}" for member in members)
    for line in tree.body:
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        names.update(target.id for target in targets if isinstance(target, ast.Name))
    return frozenset(names)


@pytest.mark.parametrize(("document", "path", "name"), STEPS)
def test_what_is_named_exists(document: str, path: str, name: str) -> None:
    """In the file that is named with it."""
    assert (ROOT / path).is_file(), f"{document} names {path}, which is not there"
    assert name in names_in(path), f"{document}: {path} has no {name}"


def test_every_row_of_the_table_of_rules_names_where_the_rule_stands() -> None:
    """In README.md, which a newcomer reads in one go: under 150 lines."""
    page = (ROOT / "README.md").read_text("utf-8")
    rows = page.partition("| rule | to change it |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()

    assert len(rows) > 15
    assert [row for row in rows if not STEP.search(row)] == []
    assert len(page.splitlines()) < 150


def test_there_are_five_walks_of_several_steps_each() -> None:
    """From where a request enters to where it is answered."""
    walks = PAGE.partition("## Five walks")[2].partition("\n## ")[0].split("\n### ")[1:]

    assert len(walks) == 5
    assert all(len(STEP.findall(walk)) >= 6 for walk in walks)


def test_every_folder_of_the_code_has_its_row_and_no_other_has() -> None:
    """A folder with modules in it; the top ones are described by what is in them."""
    table = PAGE.partition("## Folders")[2].partition("\n## ")[0]
    rows = {name for row in re.findall(r"^\| (`[^|]*)", table, re.MULTILINE) for name in re.findall(r"`([\w/]+)`", row)}
    folders = {
        str(path.parent.relative_to(ROOT))
        for top in ("engine", "actors", "storage")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "__init__.py"
    }

    assert rows - {"engine/core"} == folders - {"engine", "engine/core"}


def test_the_floors_of_the_actors_stand_in_the_order_of_their_contract() -> None:
    """The top one first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    floors = next(one["layers"] for one in contracts if one.get("containers") == ["actors"])

    assert f"actors:  {' → '.join(floors)}\n" in PAGE
