"""Character sets. Python imports the module of each when it is first named, and a component has no files: so their code is kept,
compressed, and most processors never run it."""

from __future__ import annotations

import encodings
import marshal
import pkgutil
import sys
import zlib
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Kept(MetaPathFinder, InspectLoader):
    """Finds the modules whose code is kept, by their names."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def keep(self, name: str, code: Any) -> None:
        self._code[name] = zlib.compress(marshal.dumps(code))

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self._code else None

    def get_code(self, fullname: str) -> Any:
        return marshal.loads(zlib.decompress(self._code[fullname]))

    def get_source(self, fullname: str) -> str | None:
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None


def install() -> None:
    """Keeps the character sets that are not imported yet."""
    kept = _Kept()
    for found in pkgutil.iter_modules(encodings.__path__, "encodings."):
        if found.name in sys.modules:
            continue
        spec = found.module_finder.find_spec(found.name)  # type: ignore[call-arg]
        kept.keep(found.name, spec.loader.get_code(found.name))  # type: ignore[union-attr]
    sys.meta_path.insert(0, kept)
