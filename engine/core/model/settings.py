"""What a section of the settings is made of: a frozen dataclass that stands beside the code that reads it.

`engine.settings.Settings` inherits every section, so that a setting has one name and one default, and a part is handed
the settings whole, typed as the section that it reads.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple, Self, TypeVar

import msgspec

Value = TypeVar("Value")

FIXED: Final = "not for the operator to choose"
PORT_EACH: Final = "a port for each host of a cluster"

Fixed = Annotated[Value, FIXED]
"""A field that has no key, flag or variable; tests choose it."""

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.05, le=3600)]
HostCount = Annotated[int, msgspec.Meta(ge=1, le=64)]
PublicUrl = Annotated[str, msgspec.Meta(pattern=r"^(https?://[^/?#\s]+[^?#\s]*)?$")]
Networks = tuple[str, ...]
"""Networks as `10.0.0.0/8`; in text separated by commas."""

Quoted = Callable[[str], str]
"""Writes a text of TOML."""


class Tables(NamedTuple):
    """How a setting that is tables of the file is read and written; it has no flag and no variable."""

    form: Any
    """Type of what stands in the file."""
    read: Callable[[Any], object]
    """Makes the setting of that; raises ValueError."""
    lines: Callable[[Any, Quoted], Iterator[str]]
    """Writes the setting as lines of TOML, secrets left out."""


class Misfit(NamedTuple):
    """A setting that does not go together with others."""

    key: str
    problem: str


class BadSecret(ValueError):  # noqa: N818 - names what is bad
    """A secret that a table keeps elsewhere cannot be read."""

    def __init__(self, key: str, problem: str) -> None:
        """Say of which setting."""
        super().__init__(problem)
        self.key = key


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
_TYPE = re.compile(r"`(\w+)`")
_PLACE = re.compile(r" - at `(?:key in )?\$(?:\.|(?=\[))?([^`]*)`$")


def in_words(problem: Exception, table: str = "") -> str:
    """Say what msgspec complains of as one who writes settings says it; other complaints stay.

    The table is the name of the one that was read: keys are named as keys of it.
    """
    if not isinstance(problem, msgspec.ValidationError):
        return str(problem)
    text, place = _PLACE.sub("", str(problem)), _PLACE.search(str(problem))
    where = ".".join(part for part in (table, place[1] if place else "") if part) or "it"
    match text.split("`"):
        case ["Expected ", *_]:
            named = _TYPE.sub(lambda found: _TYPES.get(found[1], found[1]), text)
            return f"{where} must be {named.removeprefix('Expected ').replace(', got ', ', not ')}"
        case ["Object contains unknown field ", key, _]:
            return f"{where} has the unknown key {key}"
        case ["Object missing required field ", key, _]:
            return f"{where}.{key} is missing"
    return f"{where} cannot be {text.removeprefix('Invalid enum value ')}" if "enum" in text else f"{where}: {text}"


@dataclass(frozen=True, kw_only=True)
class Section:
    """Every section can tell these of itself, each after those that it inherits."""

    def misfits(self) -> Iterator[Misfit]:
        """Find what does not go together."""
        yield from ()

    def warnings(self) -> Iterator[str]:
        """Find what an operator should hear at each start."""
        yield from ()

    def with_secrets(self, environ: Mapping[str, str]) -> Self:
        """Read the secrets that tables keep in files and variables; raises BadSecret."""
        del environ
        return self

    def _certificate_misfits(self, listener: str) -> Iterator[Misfit]:
        """Certificate and key of a listener go together."""
        given, other = f"{listener}_certificate", f"{listener}_key"
        if not getattr(self, given):
            given, other = other, given
        if getattr(self, given) and not getattr(self, other):
            yield Misfit(given, f"{other} is needed with it")


@dataclass(frozen=True, kw_only=True)
class SharedSettings(Section):
    """What more than one part reads."""

    public_url: PublicUrl = ""
    """URL that clients and carriers reach us by, in every answered URL and signature. Empty = http:// and listen."""
    hosts: HostCount = 1
    """Hosts of a cluster; `maskline rebalance` moves the data to another number."""
    max_inbound_body_bytes: Positive = 65_536
    """Largest inbound webhook, in bytes."""
    most_waiting_events: Positive = 10_000
    """Calls and messages that may wait for hooks at once, of one account no more than it leaves free: half of them."""
