"""How the arguments and the result of a method travel between hosts: derived from its annotations."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, get_type_hints

import msgspec

_encode = msgspec.msgpack.Encoder().encode


class ArgumentShape:
    """The arguments of one method, as a map of their names."""

    def __init__(self, method: Callable[..., Any]) -> None:
        """Read the annotations of a method; `argument_shape` remembers it."""
        hints = get_type_hints(method)
        self._names = [name for name in inspect.signature(method).parameters if name != "self"]
        fields = [(name, hints[name] | msgspec.UnsetType, msgspec.UNSET) for name in self._names]
        self._decoder = msgspec.msgpack.Decoder(msgspec.defstruct("Arguments", fields))

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Write the arguments of a call."""
        return _encode(dict(zip(self._names, args, strict=False)) | kwargs)

    def decode(self, data: msgspec.Raw) -> dict[str, Any]:
        """Read the arguments of a call; msgspec.ValidationError is the asker's bug."""
        read = self._decoder.decode(data)
        named = {name: getattr(read, name) for name in self._names}
        return {name: value for name, value in named.items() if value is not msgspec.UNSET}


@cache
def argument_shape(method: Callable[..., Any]) -> ArgumentShape:
    """Return the shape of a method's arguments."""
    return ArgumentShape(method)


@cache
def result_decoder(method: Callable[..., Any]) -> msgspec.msgpack.Decoder[Any]:
    """Return what reads the result of a method."""
    return msgspec.msgpack.Decoder(get_type_hints(method)["return"])
