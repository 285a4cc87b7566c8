"""Fields of a form: how one is read and how it is described; sans-IO.

A form is a table of fields from which both the request (a Struct of `engine.core.model.requests`) and its description
in the OpenAPI document are made, so that the two cannot differ. Absent and empty fields: behaviour 2.3.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from engine.core.model.errors import invalid_parameter
from engine.core.model.sids import SidKind, is_sid
from engine.core.model.texts import check_name, check_text
from engine.core.sessions.lifecycle import MAX_TTL_SECONDS
from engine.formats.values import FormValues, check_known, parse_date, parse_decimal, parse_url, restore_plus, single

Request = TypeVar("Request")
JsonSchema = dict[str, Any]
"""A JSON schema, as it stands in the OpenAPI document."""

MAX_URL = 4000

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
"""How booleans are written; PHP's forms have digits."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a form."""

    name: str
    """As on the wire."""
    attribute: str
    """Of the request."""
    parse: Callable[[str], object]
    """Reads a value that is not empty; raises ValueError that says what was expected."""
    schema: JsonSchema
    """Its description."""
    aliases: tuple[str, ...] = ()
    """Names that older clients send."""
    is_required: bool = False
    is_clearable: bool = False
    """Sent empty, it becomes None; otherwise an empty value is no value."""
    parse_all: Callable[[Sequence[str]], object] | None = None
    """Repeatable: reads all values together."""
    takes_lines: bool = False
    """Tabs and ends of lines may stand in it; no other control character ever may."""


class Form(msgspec.Struct, Generic[Request], frozen=True):
    """The fields of an operation and the request that they make."""

    make: Callable[..., Request]
    fields: tuple[Field, ...]
    at_least_one: tuple[str, ...] = ()
    """Names of fields of which one must have a value."""
    idle: Mapping[str, frozenset[str] | None] = {}
    """Parameters of the public API that do nothing here, and the values that ask for nothing; None = whatever they say.
    An empty value never asks for anything."""

    def read(self, values: FormValues, *, prefix: str = "") -> Request:
        """Make the request; fields that were not sent keep its defaults.

        Raises ApiError INVALID_PARAMETER with `prefix` and the name of the field as it was sent: also for one that the
        operation does not have, since what it was to do would not be done.
        """
        self._check_known(values, prefix)
        given: dict[str, object] = {}
        for field in self.fields:
            name, sent = _sent(field, values)
            try:
                for value in sent:
                    check_text(value, takes_lines=field.takes_lines)
                if field.parse_all is not None and sent:
                    given[field.attribute] = field.parse_all(sent)
                elif value := single(sent):
                    given[field.attribute] = field.parse(value)
                elif field.is_required:
                    raise ValueError("is required")  # noqa: TRY301 - one place names the parameter
                elif sent and field.is_clearable:
                    given[field.attribute] = None
            except ValueError as problem:
                raise invalid_parameter(prefix + name, str(problem)) from problem
        if self.at_least_one and not any(any(values.get(name, ())) for name in self.at_least_one):
            raise invalid_parameter(prefix + self.at_least_one[0], f"give {' or '.join(self.at_least_one)}")
        return self.make(**given)

    def _check_known(self, values: FormValues, prefix: str) -> None:
        known = {name for field in self.fields for name in (field.name, *field.aliases)}
        check_known(values, known | self.idle.keys(), prefix=prefix)
        for name in self.idle.keys() & values.keys():
            harmless = self.idle[name]
            if harmless is not None and not harmless.issuperset(filter(None, values[name])):
                raise invalid_parameter(prefix + name, "is not supported: what it asks for is not done here")


def text(
    name: str,
    attribute: str,
    *,
    max_length: int,
    is_required: bool = False,
    is_clearable: bool = False,
    takes_lines: bool = False,
) -> Field:
    """Describe free text of at most `max_length` characters."""

    def parse(value: str) -> str:
        if len(value) > max_length:
            raise ValueError(f"longer than {max_length} characters")
        return value

    return Field(
        name=name,
        attribute=attribute,
        parse=parse,
        schema={"type": "string", "minLength": int(is_required), "maxLength": max_length},
        is_required=is_required,
        is_clearable=is_clearable,
        takes_lines=takes_lines,
    )


def unique_name(*, max_length: int, is_required: bool = False, aliases: tuple[str, ...] = ()) -> Field:
    """Describe the name by which a resource can be read."""
    plain = text("UniqueName", "unique_name", max_length=max_length, is_required=is_required)

    def parse(value: str) -> object:
        check_name(value)
        return plain.parse(value)

    return msgspec.structs.replace(plain, parse=parse, aliases=aliases)


def address(name: str, attribute: str, *, max_length: int, is_required: bool = False) -> Field:
    """Describe a phone number or channel address; the rules judge it, a lost "+" is restored."""

    def parse(value: str) -> str:
        if len(value) > max_length:
            raise ValueError(f"longer than {max_length} characters")
        return restore_plus(value)

    schema: JsonSchema = {"type": "string", "minLength": int(is_required), "maxLength": max_length}
    schema["examples"] = ["+14155550100"]
    return Field(name=name, attribute=attribute, parse=parse, schema=schema, is_required=is_required)


def flag(name: str, attribute: str, *, aliases: tuple[str, ...] = ()) -> Field:
    """Describe a boolean."""

    def parse(value: str) -> bool:
        truth = _TRUTHS.get(value.strip().lower())
        if truth is None:
            raise ValueError("expected true or false")
        return truth

    return Field(name=name, attribute=attribute, parse=parse, schema={"type": "boolean"}, aliases=aliases)


def seconds(name: str, attribute: str) -> Field:
    """Describe a number of seconds; 0 is none."""
    return Field(
        name=name,
        attribute=attribute,
        parse=lambda value: parse_decimal(value, low=0, high=MAX_TTL_SECONDS),
        schema={"type": "integer", "minimum": 0, "maximum": MAX_TTL_SECONDS},
    )


def choice(
    name: str, attribute: str, values: type[StrEnum], *, misspellings: Mapping[str, StrEnum] | None = None
) -> Field:
    """Describe one of a closed set; any case, and `_` for `-` as SDKs before 2017-12 wrote."""
    by_name = {value.value: value for value in values} | dict(misspellings or {})

    def parse(value: str) -> StrEnum:
        found = by_name.get(value.strip().lower().replace("_", "-"))
        if found is None:
            raise ValueError(f"expected one of {', '.join(values)}")
        return found

    return Field(name=name, attribute=attribute, parse=parse, schema={"type": "string", "enum": [*values]})


def date(name: str, attribute: str) -> Field:
    """Describe a time that can be cleared; dates without a time are read as well."""

    def parse(value: str) -> float:
        try:
            return parse_date(value)
        except ValueError as problem:
            raise ValueError("expected a UTC time such as 2031-07-30T20:00:00Z") from problem

    schema = {"type": "string", "format": "date-time", "examples": ["2031-07-30T20:00:00Z"]}
    return Field(name=name, attribute=attribute, parse=parse, schema=schema, is_clearable=True)


def url(name: str, attribute: str) -> Field:
    """Describe an absolute http or https address that can be cleared."""
    return Field(
        name=name,
        attribute=attribute,
        parse=lambda value: parse_url(value, max_length=MAX_URL),
        schema={"type": "string", "format": "uri", "maxLength": MAX_URL},
        is_clearable=True,
    )


def sid(name: str, attribute: str, *kinds: SidKind, is_clearable: bool = False, is_required: bool = False) -> Field:
    """Describe a SID of one of the kinds."""

    def parse(value: str) -> str:
        if not any(is_sid(value, kind) for kind in kinds):
            raise ValueError(f"expected {' or '.join(kinds)} and 32 hex digits")
        return value

    return Field(
        name=name,
        attribute=attribute,
        parse=parse,
        schema={"type": "string", "pattern": sid_pattern(*kinds)},
        is_required=is_required,
        is_clearable=is_clearable,
    )


def repeated(name: str, attribute: str, parse_all: Callable[[Sequence[str]], object], items: JsonSchema) -> Field:
    """Describe a parameter that is sent once per value."""
    return Field(
        name=name,
        attribute=attribute,
        parse=str,
        parse_all=parse_all,
        schema={"type": "array", "items": items},
        takes_lines=True,  # JSON may have them between its values; `parse_all` judges these
    )


def sid_pattern(*kinds: SidKind) -> str:
    """Return the regular expression of SIDs of the kinds."""
    prefix = kinds[0].value if len(kinds) == 1 else f"({'|'.join(kinds)})"
    return f"^{prefix}[0-9a-fA-F]{{32}}$"


def _sent(field: Field, values: FormValues) -> tuple[str, Sequence[str]]:
    """Return what was sent for a field, and by which of its names."""
    name = next((name for name in (field.name, *field.aliases) if name in values), field.name)
    return name, values.get(name, ())
