"""Compiled modules of packages, which cannot run in a component. Importing one says so, as an error that packages expect where such a
module is optional. Used while the component is built."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any

_SUFFIXES = (".so", ".pyd")
_STDLIB = os.path.dirname(os.__file__)


@cache
def _files(folder: str) -> tuple[set[str], set[str]]:
    """The modules of a folder that are compiled, and those that are there in Python; a package comes before both."""
    try:
        files = os.listdir(folder or ".")
    except OSError:
        return set(), set()
    packages = {file for file in files if os.path.isfile(os.path.join(folder, file, "__init__.py"))}
    compiled = {file.partition(".")[0] for file in files if file.endswith(_SUFFIXES)} - packages
    return compiled, packages | {file.removesuffix(".py") for file in files if file.endswith(".py")}


class Refusal(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        for folder in path if path is not None else sys.path:
            compiled, pure = _files(folder)
            if folder == _STDLIB or folder.startswith(f"{_STDLIB}/"):
                continue
            if name not in compiled:
                if name in pure:
                    # Python finds it there by itself.
                    return None
                continue
            if name in pure:
                return spec_from_file_location(fullname, os.path.join(folder, f"{name}.py"))
            # Without the module's name: Python drops such an error with it in `from package import module`.
            raise ModuleNotFoundError(
                f"`{fullname}` is compiled code, which does not run in a component: use a package in pure Python"
            )
        return None


def refuse() -> Refusal:
    """From here on. What is returned is taken out of `sys.meta_path` again."""
    refusal = Refusal()
    sys.meta_path.insert(0, refusal)
    return refusal
