"""The two builds of what mypyc compiles: the one in use, and the interpreted source of it."""

import importlib
import os
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

NAMES = ("engine.core.shortcuts", "engine.wire.feed_shortcuts")


class Build(NamedTuple):
    """The same modules, built in one way."""

    shortcuts: Any
    feed_shortcuts: Any


def compiled() -> Build:
    """Return the compiled modules; where there is no compiler, and only there, the test is skipped."""
    build = Build(*map(importlib.import_module, NAMES))
    if not build.shortcuts.IS_COMPILED:
        if "CI" in os.environ or shutil.which("cc"):
            pytest.fail("nothing is compiled: `make setup`")
        pytest.skip("there is no C compiler here")
    for module in build:
        source = _source(module.__name__)
        if Path(module.__file__).stat().st_mtime < source.stat().st_mtime:
            pytest.fail(f"{source.name} has changed since it was compiled: `make setup`")
    return build


def interpreted() -> Build:
    """Return modules made from the sources, whatever is compiled beside them."""
    in_use = {name: importlib.import_module(name) for name in NAMES}
    try:
        build = Build(*map(_from_source, NAMES))
    finally:
        sys.modules.update(in_use)
    assert not build.shortcuts.IS_COMPILED
    return build


def _source(name: str) -> Path:
    return Path(__file__).parents[1].joinpath(*name.split(".")).with_suffix(".py")


def _from_source(name: str) -> ModuleType:
    spec = spec_from_file_location(name, _source(name))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
