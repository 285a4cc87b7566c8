"""The tables `[carriers.NAME]` of the settings file: what they may hold, and where their secrets are read from.

Whatever is wrong is a ValueError that names the key and never a secret.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

import msgspec

from engine.channels.carriers import Carrier, Carriers
from engine.channels.clients import ANY_NUMBER, TWIML
from engine.core.model.settings import BadSecret, Misfit, Quoted, SharedSettings, Tables
from engine.formats.urls import check_url
from engine.outbound.settings import CarrierKind, CarrierSettings

CarrierTable = dict[str, str | list[str] | bool]
"""One table as it stands in the file."""

_SECRETS = {"auth_token": "auth_tokens", "signing_key": "signing_keys"}
"""Each by its key: the field that it fills. The same with `_file` or `_variable` names where it is read from."""

_LISTS = frozenset({*_SECRETS, "numbers"})
_TEXTS = (
    "kind",
    "url",
    "account_sid",
    "path",
    *(f"{key}_{place}" for key in _SECRETS for place in ("file", "variable")),
)
KEYS = frozenset({*_TEXTS, *_LISTS, "writes_digits"})
"""What a table may hold."""


def carrier_of(name: str, table: CarrierTable) -> CarrierSettings:
    """Read a table; secrets that are kept elsewhere are not read yet."""
    if name in {"", TWIML}:
        raise ValueError(f"{name!r} cannot be the name of a carrier")
    if unknown := table.keys() - KEYS:
        raise ValueError(f"carriers.{name} has unknown keys {', '.join(sorted(unknown))}")
    texts = {key: _text(name, key, table[key]) for key in _TEXTS if key in table}
    kind = texts.pop("kind", CarrierKind.MESSAGES_API)
    if kind not in set(CarrierKind):
        raise ValueError(f"carriers.{name}.kind must be one of {', '.join(CarrierKind)}")
    writes_digits = _flag(name, "writes_digits", table.get("writes_digits", False))
    lists = {_SECRETS.get(key, key): _texts(name, key, table[key]) for key in _LISTS if key in table}
    carrier = msgspec.convert(
        {"name": name, "kind": kind, "writes_digits": writes_digits, **texts, **lists}, CarrierSettings
    )
    _check(carrier, table)
    return carrier


def with_secrets(carrier: CarrierSettings, environ: Mapping[str, str]) -> CarrierSettings:
    """Read the secrets that a table keeps in a file or a variable, a line each."""
    for key, filled in _SECRETS.items():
        file, variable = getattr(carrier, f"{key}_file"), getattr(carrier, f"{key}_variable")
        if not file and not variable:
            continue
        lines = _read(carrier, key, file) if file else environ.get(variable, "")
        secrets = tuple(line.strip() for line in lines.splitlines() if line.strip())
        if not secrets:
            where = f"file {file}" if file else f"variable {variable}"
            raise ValueError(f"carriers.{carrier.name}.{key}: the {where} holds nothing")
        carrier = msgspec.structs.replace(carrier, **{filled: secrets})
    return carrier


def is_start_of_number(text: str) -> bool:
    """Tell whether a text can be how a proxy number begins: digits, behind a "+" or not."""
    digits = text.removeprefix("+")
    return digits.isascii() and digits.isdecimal()


def rendered(carrier: CarrierSettings, quoted: Quoted) -> Iterator[str]:
    """Write a table as lines of TOML, secrets left out; `quoted` writes a text."""
    yield f"[carriers.{quoted(carrier.name)}]"
    for key in _TEXTS:
        if text := str(getattr(carrier, key)):
            yield f"{key} = {quoted(text)}"
    if carrier.numbers:
        yield f"numbers = [{', '.join(map(quoted, carrier.numbers))}]"
    if carrier.writes_digits:
        yield "writes_digits = true"
    for key, filled in _SECRETS.items():
        if getattr(carrier, filled):
            yield f"# {key} is not shown"


def _check(carrier: CarrierSettings, table: CarrierTable) -> None:
    name = carrier.name
    for key in _SECRETS:
        given = [one for one in (key, f"{key}_file", f"{key}_variable") if table.get(one)]
        if len(given) > 1:
            raise ValueError(f"carriers.{name} has {' and '.join(given)}: one of them is enough")
    has = {key: any(table.get(one) for one in (key, f"{key}_file", f"{key}_variable")) for key in _SECRETS}
    if carrier.kind is CarrierKind.FILE:
        missing = "" if carrier.path else "path"
    elif not carrier.account_sid:
        missing = "account_sid"
    else:
        is_known = has["auth_token"] or (has["signing_key"] and not carrier.url)
        missing = "" if is_known else "auth_token"
    if missing:
        raise ValueError(f"carriers.{name}.{missing} is missing")
    _check_url(name, carrier.url)
    for start in carrier.numbers:
        if not is_start_of_number(start):
            raise ValueError(f'carriers.{name}.numbers: {start!r} is not the start of a number, such as "+1415"')


def _check_url(name: str, url: str) -> None:
    if not (url or "https://").startswith(("http://", "https://")):
        raise ValueError(f"carriers.{name}.url must begin with https:// or http://")
    try:
        if url:
            check_url(url)
    except ValueError as problem:
        raise ValueError(f"carriers.{name}.url cannot be called: {problem}") from problem


def _flag(name: str, key: str, value: str | list[str] | bool) -> bool:  # noqa: FBT001 - as it stands in the file
    if not isinstance(value, bool):
        raise ValueError(f"carriers.{name}.{key} must be true or false")  # noqa: TRY004 - the file's fault, as all others
    return value


def _text(name: str, key: str, value: str | list[str] | bool) -> str:  # noqa: FBT001 - likewise
    if not isinstance(value, str):
        raise ValueError(f"carriers.{name}.{key} must be a text")  # noqa: TRY004 - the file's fault, as all others
    return value


def _texts(name: str, key: str, value: str | list[str] | bool) -> tuple[str, ...]:  # noqa: FBT001 - likewise
    if isinstance(value, bool):
        raise ValueError(f"carriers.{name}.{key} must be a text or a list of texts")  # noqa: TRY004 - likewise
    texts = (value,) if isinstance(value, str) else tuple(value)
    if isinstance(value, list) and not all(texts):
        raise ValueError(f"carriers.{name}.{key} holds an empty text")
    return tuple(filter(None, texts))


def _read(carrier: CarrierSettings, key: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_text("utf-8-sig")
    except OSError as problem:
        raise ValueError(f"carriers.{carrier.name}.{key}: cannot read {file}: {problem.strerror}") from problem


def _carriers_of(tables: dict[str, CarrierTable]) -> tuple[CarrierSettings, ...]:
    carriers = tuple(carrier_of(name, table) for name, table in tables.items())
    accounts: dict[str, str] = {}
    for carrier in carriers:
        other = accounts.setdefault(carrier.account_sid, carrier.name) if carrier.account_sid else carrier.name
        if other != carrier.name:
            raise ValueError(f"carriers.{other} and carriers.{carrier.name} have the same account_sid")
    return carriers


def _carrier_lines(carriers: tuple[CarrierSettings, ...], quoted: Quoted) -> Iterator[str]:
    for carrier in carriers:
        yield from rendered(carrier, quoted)


def _routes_of(routes: dict[str, str]) -> dict[str, str]:
    for prefix in routes:
        if prefix != ANY_NUMBER and not is_start_of_number(prefix):
            raise ValueError(f'{prefix!r} is neither the start of a number, such as "+1415", nor "*"')
    return routes


def _route_lines(routes: dict[str, str], quoted: Quoted) -> Iterator[str]:
    yield "[carrier_routes]"
    for prefix, name in routes.items():
        yield f"{quoted(prefix)} = {quoted(name)}"


@dataclass(frozen=True, kw_only=True)
class CarriersSettings(SharedSettings):
    """The operator's carriers: they speak for every account, and send for us."""

    carriers: Annotated[tuple[CarrierSettings, ...], Tables(dict[str, CarrierTable], _carriers_of, _carrier_lines)] = ()
    """Whose webhooks are taken, and who sends messages for us; a table [carriers.NAME] each (docs/connect.md)."""
    carrier_routes: Annotated[dict[str, str], Tables(dict[str, str], _routes_of, _route_lines)] = field(
        default_factory=dict
    )
    """Who sends from which proxy number, longest prefix first; "*" = all others, "twiml" = the webhook's answer."""

    @cached_property
    def inbound_carriers(self) -> Carriers:
        """Those that deliver to us."""
        return {
            one.account_sid: Carrier(
                name=one.name, keys=one.inbound_keys, numbers=one.numbers, writes_digits=one.writes_digits
            )
            for one in self.carriers
            if one.account_sid and one.inbound_keys
        }

    def sender_names(self) -> tuple[str, ...]:
        """Name what a route may lead to."""
        return (TWIML, *(one.name for one in self.carriers))

    def misfits(self) -> Iterator[Misfit]:
        """Find routes that lead to nobody."""
        yield from super().misfits()
        known = self.sender_names()
        only_receives = {one.name for one in self.carriers if not one.url and not one.path}
        for prefix, name in self.carrier_routes.items():
            where = f"{prefix!r} names the carrier {name!r}"
            if name not in known:
                yield Misfit("carrier_routes", f"{where}; there are {', '.join(sorted(known))}")
            if name in only_receives:
                yield Misfit("carrier_routes", f"{where}, which has no url to send to")

    def with_secrets(self, environ: Mapping[str, str]) -> Self:
        """Read those of carriers."""
        known = super().with_secrets(environ)
        try:
            return replace(known, carriers=tuple(with_secrets(one, environ) for one in known.carriers))
        except ValueError as problem:
            raise BadSecret("carriers", str(problem)) from problem
