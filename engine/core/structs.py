"""Bases of the records in compiled modules: mypyc drops the keywords of a class, msgspec hands down those of its base.

So a class says them for whoever reads it, and its base for the build. `kw_only` is the type checker's alone.
"""

import msgspec


class Value(msgspec.Struct, frozen=True):
    """Does not change."""


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """Does not change, and is in no cycle: the collector need not look at it."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """Does not change, and is written as an array: its fields keep their places."""
