"""How the arguments and the result of a method travel between hosts: derived from its annotations.

Requests whose fields may be UNSET leave those out; everything else is a record that msgspec knows.
"""

import inspect
from collections.abc import Callable
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.core.model.records import NoChange
from engine.core.model.requests import given

_encode = msgspec.msgpack.Encoder().encode


class ArgumentShape:
    """The arguments of one method, as a map of their names."""

    def __init__(self, method: Callable[..., Any]) -> None:
        """Read the annotations of a method; `argument_shape` remembers it."""
        hints = get_type_hints(method)
        names = [name for name in inspect.signature(method).parameters if name != "self"]
        self._names = names
        self._requests = {name: hints[name] for name in names if _may_be_unset(hints[name])}
        fields = [(name, _on_the_wire(hints[name]), msgspec.UNSET) for name in names]
        self._wire = msgspec.defstruct("Arguments", fields)
        self._decoder = msgspec.msgpack.Decoder(self._wire)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Write the arguments of a call."""
        named = dict(zip(self._names, args, strict=False)) | kwargs
        for name in self._requests.keys() & named.keys():
            named[name] = given(named[name])
        return _encode(named)

    def decode(self, data: msgspec.Raw) -> dict[str, Any]:
        """Read the arguments of a call; msgspec.ValidationError is the asker's bug."""
        read = self._decoder.decode(data)
        named = given_fields(read)
        for name, request in self._requests.items():
            if name in named:
                named[name] = request(**given_fields(named[name]))
        return named


@cache
def argument_shape(method: Callable[..., Any]) -> ArgumentShape:
    """Return the shape of a method's arguments."""
    return ArgumentShape(method)


@cache
def result_decoder(method: Callable[..., Any]) -> msgspec.msgpack.Decoder[Any]:
    """Return what reads the result of a method."""
    return msgspec.msgpack.Decoder(get_type_hints(method)["return"])


def given_fields(struct: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a wire struct that were sent."""
    values = {field: getattr(struct, field) for field in struct.__struct_fields__}
    return {field: value for field, value in values.items() if value is not msgspec.UNSET}


def _may_be_unset(hint: Any) -> bool:  # noqa: ANN401 - a type form has no better type
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct) and _has_unset_fields(hint)


@cache
def _has_unset_fields(request: type[msgspec.Struct]) -> bool:
    return any(NoChange in get_args(hint) for hint in get_type_hints(request).values())


def _on_the_wire(hint: Any) -> Any:  # noqa: ANN401 - likewise
    wire = _wire_struct(hint) if _may_be_unset(hint) else hint
    return wire | msgspec.UnsetType


@cache
def _wire_struct(request: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields = [
        (name, _without_no_change(hint) | msgspec.UnsetType, msgspec.UNSET)
        for name, hint in get_type_hints(request).items()
    ]
    return msgspec.defstruct(f"{request.__name__}OnTheWire", fields)


def _without_no_change(hint: Any) -> Any:  # noqa: ANN401 - likewise
    if get_origin(hint) not in {Union, UnionType}:
        return hint
    return reduce(or_, (one for one in get_args(hint) if one is not NoChange))
