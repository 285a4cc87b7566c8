"""What docstrings and comments name is there: modules, what is in them, and whatever stands between backticks."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TOPS = ("engine", "actors", "storage", "tests", "benchmarks")
DOTTED = re.compile(rf"`((?:{'|'.join(TOPS)})(?:\.[A-Za-z_]\w*)+)`")
QUOTED = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(\))?`")
FIRST = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+\b")
FILES = [path for top in TOPS for path in (ROOT / top).rglob("*.py")]


COMMENT = re.compile(r"(?:^|\s)# (.*)")


class Source(NamedTuple):
    """A file, taken apart."""

    prose: list[tuple[str, str]]
    """Docstrings, those below fields among them, and comments, each with its place."""
    words: set[str]
    """Of the code itself: its names, and what stands in its other strings."""
    classes: set[str]
    """Those that it defines."""


@cache
def source(path: Path) -> Source:
    text = path.read_text("utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    lines = text.splitlines()
    prose = []
    for one in nodes:
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
            prose.append((f"{path.relative_to(ROOT)}:{one.lineno}", one.value.value))
            lines[one.lineno - 1 : one.end_lineno] = [""] * ((one.end_lineno or one.lineno) - one.lineno + 1)
    for number, line in enumerate(lines, 1):
        prose += [(f"{path.relative_to(ROOT)}:{number}", comment) for comment in COMMENT.findall(line)]
    code = "\n".join(COMMENT.sub("", line) for line in lines)
    return Source(prose, set(re.findall(r"\w+", code)), {one.name for one in nodes if isinstance(one, ast.ClassDef)})


def prose() -> Iterator[tuple[str, str]]:
    """Yield every docstring and comment, with its place."""
    for path in FILES:
        yield from source(path).prose


def resolves(dotted: str) -> bool:
    """Tell whether a dotted name leads to a folder, a module, or a name in one."""
    place, parts = ROOT, dotted.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    if not parts:
        return True
    module = place / f"{parts[0]}.py"
    return module.is_file() and set(parts[1:]) <= source(module).words


def test_every_module_that_is_named_is_there() -> None:
    """With what is named in it."""
    named = [(place, dotted) for place, text in prose() for dotted in DOTTED.findall(text)]

    assert len(named) > 40
    assert [(place, dotted) for place, dotted in named if not resolves(dotted)] == []


def test_every_name_between_backticks_is_one_of_the_code() -> None:
    """A word of another program stands between quotation marks."""
    known = set().union(*(source(path).words for path in FILES))
    named = [(place, name) for place, text in prose() for name in QUOTED.findall(text)]

    assert len(named) > 500
    assert [(place, name) for place, name in named if not set(name.split(".")) <= known] == []


def test_no_sentence_begins_with_a_class_that_is_not_marked_as_one() -> None:
    """So that a rename of a class that was called as a verb or a noun is, leaves no docstring that says nothing."""
    classes = set().union(*(source(path).classes for path in FILES))
    first = [(place, begin[0]) for place, text in prose() if (begin := FIRST.match(text)) is not None]

    assert [(place, name) for place, name in first if name in classes] == []
