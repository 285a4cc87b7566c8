"""What the code cites of docs/behaviour.md is there: every `behaviour 6.3` is a heading, or a numbered point of one."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"\b[Bb]ehaviour (\d+(?:\.\d+)*(?:(?:,| and|, and) \d+(?:\.\d+)*)*)")
HEADING = re.compile(r"^#+ (\d+(?:\.\d+)*)\.? ", re.MULTILINE)
POINT = re.compile(r"^(\d+)\. ", re.MULTILINE)
IN_CODE = ("engine", "actors", "storage", "benchmarks", "tests")


def numbered(page: str) -> set[str]:
    """Return the numbers of a page's headings, and of the points listed below each."""
    found = set()
    for heading, following in zip(starts := [*HEADING.finditer(page)], [*starts[1:], None], strict=True):
        found.add(heading[1])
        below = page[heading.end() : following.start() if following else len(page)]
        found.update(f"{heading[1]}.{point}" for point in POINT.findall(below))
    return found


def citations() -> Iterator[tuple[str, str]]:
    """Yield each citation with the file that makes it."""
    files = [path for folder in IN_CODE for path in (ROOT / folder).rglob("*.py")]
    for path in [*files, *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for cited in CITED.finditer(path.read_text()):
            for number in re.findall(r"\d+(?:\.\d+)*", cited[1]):
                yield str(path.relative_to(ROOT)), number


def test_every_citation_of_the_behaviour_is_found_there() -> None:
    """By its number, with the files that cite it."""
    known = numbered((ROOT / "docs" / "behaviour.md").read_text())
    cited = list(citations())

    assert len(cited) > 100
    assert [(path, number) for path, number in cited if number not in known] == []
