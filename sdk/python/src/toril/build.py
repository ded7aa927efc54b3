"""`toril build`: makes the component of a processor. Runs on the developer's machine, around componentize-py."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import __version__
from ._imports import Imports, imports_of
from ._snapshot import make_immortal, unsigned
from ._zones import PACKAGES, table

#: What the user sees of a failed build lies between two of these.
_MARK = "toril-build-error"
_COMPONENTIZE = "import sys; from componentize_py import script; sys.exit(script())"
#: The module that componentize-py starts with, and the world that it makes a component for.
_APP = "toril_app"
_WORLD = "processor"
#: The worlds of `python.wit` that only some processors need, and the modules whose import tells that one does.
_WORLDS = {"requests": {"toril.http", "urllib.request"}, "stores": {"toril.kv"}}


class BuildError(Exception):
    """The component could not be built. The message is for the user."""


@dataclass
class Built:
    """A component, and what was seen while it was made."""

    path: Path
    seconds: float
    size: int
    #: The worlds that it was built for, beside that of any processor.
    worlds: list[str]
    warnings: list[str] = field(default_factory=list)
    #: The user's files that it is made of.
    inputs: list[Path] = field(default_factory=list)


def _app(file: str, imports: Imports) -> str:
    draws = "random" in imports.all
    return (
        "import sys\n"
        # Nothing is written next to the sources.
        "sys.dont_write_bytecode = True\n"
        "from toril._prepare import prepare\n"
        f"_attempts = prepare({file!r}, {sorted(imports.later)!r}, {draws})\n"
        "class WitWorld:\n"
        "    def process(self):\n"
        "        return _attempts.run()\n"
    )


def _search_path(folder: Path) -> list[Path]:
    """Where the component's modules are found: the file's folder, this package, and the environment's packages."""
    stdlib = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    found = [folder, Path(__file__).resolve().parent.parent]
    candidates = [*map(Path, sys.path), *map(Path, site.getsitepackages())]
    for path in candidates:
        resolved = path.resolve()
        is_stdlib = resolved in stdlib or resolved.parent in stdlib and resolved.name == "lib-dynload"
        if resolved.is_dir() and not is_stdlib and resolved not in found and str(path) != "":
            found.append(resolved)
    return found


def _worlds(imports: Imports, http: bool | None) -> list[str]:
    used = {world for world, modules in _WORLDS.items() if imports.all & modules}
    if http is not None:
        used = used - {"requests"} | ({"requests"} if http else set())
    return sorted(used)


def _write_wit(to: Path, worlds: list[str]) -> None:
    """Lays the interfaces as componentize-py wants them, each package in a folder of its own, with the world of this
    processor."""
    wit = Path(__file__).resolve().parent / "wit"
    to.mkdir()
    shutil.copy(wit / "python.wit", to)
    includes = "".join(f"  include {world};\n" for world in ["guest", *worlds])
    (to / "world.wit").write_text(f"package toril:python;\n\nworld {_WORLD} {{\n{includes}}}\n", encoding="utf-8")
    for package in ("processor", "keyvalue"):
        shutil.copytree(wit / package, to / "deps" / package)
    for file in (wit / "wasi").glob("*.wit"):
        folder = to / "deps" / file.stem
        folder.mkdir()
        shutil.copy(file, folder)


def _environment(work: Path) -> dict[str, str]:
    """Nothing of the user's environment may come into the component. componentize-py adds the packages of the active
    environment, or else of the first `python3` in the PATH, which may be another one: so an empty one is active."""
    kept = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR", "TEMP", "TMP")
    empty = work / "empty"
    for lib in ("lib", "Lib"):
        (empty / lib / "site-packages").mkdir(parents=True, exist_ok=True)
    own = {"HOME": str(work), "VIRTUAL_ENV": str(empty)}
    return {name: os.environ[name] for name in kept if name in os.environ} | own


@contextmanager
def _work() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="toril-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _message(output: str) -> str:
    """What went wrong, from what componentize-py and the guest printed."""
    parts = output.split(f"{_MARK}\n")
    return parts[1].strip() if len(parts) >= 3 else output.strip()


def _componentize(work: Path, path: list[Path], out: Path) -> str:
    command = [sys.executable, "-c", _COMPONENTIZE, "-d", str(work / "wit"), "-w", _WORLD, "componentize", _APP]
    for folder in [work / "app", *path]:
        command += ["-p", str(folder)]
    command += ["-o", str(out)]
    done = subprocess.run(command, cwd=work, env=_environment(work), capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if "No module named 'componentize_py'" in output:
        raise BuildError("componentize-py is not installed\nhint: python3 -m pip install componentize-py==0.25.1")
    if done.returncode != 0 or not out.exists():
        raise BuildError(_message(output))
    return output


def _sdk_section() -> bytes:
    """The custom section in which an SDK says what it is, and which imports of its engine no processor uses."""
    says = {"sdk": "toril for Python", "version": __version__, "unused": ["wasi:sockets"]}
    name, text = b"toril:sdk", json.dumps(says).encode()
    content = bytes([len(name)]) + name + text
    return b"\0" + unsigned(len(content)) + content


def build(file: Path, out: Path, *, http: bool | None = None) -> Built:
    """Builds the component of a file. `http` says whether it sends requests; otherwise its imports do."""
    if not file.is_file():
        raise BuildError(f"there is no file `{file}`")
    begin = time.monotonic()
    file = file.resolve()
    path = _search_path(file.parent)
    imports = imports_of(file, path)
    worlds = _worlds(imports, http)
    with _work() as work:
        _write_wit(work / "wit", worlds)
        (work / "app").mkdir()
        (work / "app" / f"{_APP}.py").write_text(_app(file.name, imports), encoding="utf-8")
        if imports.all.intersection(PACKAGES):
            (work / "app" / "zones.json").write_text(table(), encoding="utf-8")
        made = work / "made.wasm"
        output = _componentize(work, path, made)
        out.parent.mkdir(parents=True, exist_ok=True)
        component = bytearray(made.read_bytes())
        make_immortal(component, (work / "app" / "objects.bin").read_bytes())
        component += _sdk_section()
        out.write_bytes(component)
    warnings = [line for line in output.splitlines() if line.startswith("warning: ")]
    inputs = sorted(found for found in imports.files if found.is_relative_to(file.parent))
    return Built(out, time.monotonic() - begin, out.stat().st_size, worlds, warnings, inputs)
