"""A plugin of pytest: runs the tests on the sources of what is compiled beside them (`pytest -p tests.interpreted`)."""

import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

PACKAGES = frozenset({"engine", "actors", "storage"})


class Sources:
    """Finds our modules as sources only."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the source of a module of ours."""
        if path is None or name.partition(".")[0] not in PACKAGES:
            return None
        specs = (FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name, target) for folder in path)
        return next((spec for spec in specs if spec is not None and spec.loader is not None), None)


sys.meta_path.insert(0, Sources)
