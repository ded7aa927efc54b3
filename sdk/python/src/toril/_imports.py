"""What a file imports, and what that imports, without running any of it. A component has no files when it runs: imports
inside of functions must have been made before."""

from __future__ import annotations

import ast
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

#: Modules of the standard library that its functions import and no processor needs: for terminals, debuggers and tests.
_NEEDLESS = set(
    "__main__ _pyrepl antigravity bdb cProfile code codeop cmd ctypes curses dbm doctest ensurepip fcntl getpass grp"
    " idlelib lib2to3 msvcrt multiprocessing nt ntpath pdb pip posixsubprocess profile pstats pty pwd pydoc readline"
    " resource rlcompleter sqlite3 ssl subprocess termios test this threading tkinter trace tracemalloc turtle unittest"
    " venv webbrowser winreg _winapi wsgiref xmlrpc".split()
)
#: Modules of this package that are imported only where the file imports them: a component with one of them needs a grant.
_OPTIONAL = {"toril.http", "toril.kv"}


@dataclass
class Imports:
    """Modules by name: all that are reached, and those that only functions import."""

    all: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    #: The sources that were looked at, but for the standard library's.
    files: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class _Source:
    """A file to look at; and whether what its functions import counts."""

    file: Path
    package: str
    in_stdlib: bool
    functions: bool


@dataclass(frozen=True)
class _Import:
    names: tuple[str, ...]
    in_function: bool


class _Walker(ast.NodeVisitor):
    def __init__(self, package: str):
        self._package = package.split(".") if package else []
        self._depth = 0
        self.found: list[_Import] = []

    def _add(self, *names: str) -> None:
        self.found.append(_Import(names, self._depth > 0))

    def visit_FunctionDef(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        if (
            isinstance(test, ast.Name)
            and test.id == "TYPE_CHECKING"
            or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")
        ):
            for other in node.orelse:
                self.visit(other)
            return
        # What only the program that the file also is would do.
        if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__":
            return
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parts = self._package[: len(self._package) - node.level + 1] if node.level else []
        module = ".".join([*parts, *([node.module] if node.module else [])])
        if module:
            # A name may be a module of its own.
            self._add(module, *(f"{module}.{alias.name}" for alias in node.names if alias.name != "*"))


def _spec(name: str, path: list[str]) -> ModuleSpec | None:
    """Where a module is, without importing its packages."""
    search: list[str] | None = path
    spec = None
    for at in range(len(parts := name.split("."))):
        try:
            spec = PathFinder.find_spec(".".join(parts[: at + 1]), search)
        except (ImportError, ValueError, OSError):
            return None
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    return spec


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _walk(file: Path, package: str) -> list[_Import]:
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, OSError):
        return []
    walker = _Walker(package)
    walker.visit(tree)
    return walker.found


def imports_of(file: Path, path: list[Path]) -> Imports:
    """What a file imports, by the search path of the component and this Python's standard library."""
    own = [str(folder) for folder in path]
    found = Imports()
    pending = deque([_Source(file, "", False, True)])
    while pending:
        source = pending.popleft()
        if not source.in_stdlib:
            found.files.add(source.file)
        for imported in _walk(source.file, source.package):
            if imported.in_function and not source.functions:
                continue
            for name in imported.names:
                for module in _parents(name):
                    pending.extend(_enter(module, imported.in_function, source, own, found))
    found.later -= {name for name in found.later if name.partition(".")[0] in ("toril", "bullmq")} - _OPTIONAL
    return found


def _enter(name: str, in_function: bool, importer: _Source, own: list[str], found: Imports) -> list[_Source]:
    """Notes a module; returns its source where it is seen for the first time."""
    top = name.partition(".")[0]
    in_stdlib = top in sys.stdlib_module_names
    needless = in_function and in_stdlib and top in _NEEDLESS
    if name in found.all or needless or top in ("wit_world", "componentize_py_types"):
        return []
    spec = _spec(name, sys.path if in_stdlib else own)
    if spec is None and not (in_stdlib and name == top):
        return []
    found.all.add(name)
    if in_function:
        found.later.add(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py") or top in ("toril", "bullmq"):
        return []
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    # The standard library's functions import much that nobody needs: those that the user's code calls itself count.
    functions = not in_stdlib or not (importer.in_stdlib or in_function)
    return [_Source(Path(spec.origin), package, in_stdlib, functions)]
