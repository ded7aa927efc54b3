"""Runs inside of the component while it is built: imports the user's file and all that it may import later, since a
component has no files, and leaves behind what each attempt begins with."""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType

from . import _alias, _codecs, _compiled, _executors, _failure, _fresh, _logging, _loop, _objects, _rehearsal, _sockets, _zones
from ._attempt import Attempts
from ._host import Building
from ._worker import Processor, Worker, workers

#: Modules that C code imports when it first needs them, and codecs that are looked up by name.
_LATER = (
    "_strptime",
    "encodings.ascii",
    "encodings.base64_codec",
    "encodings.cp1252",
    "encodings.hex_codec",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.punycode",
    "encodings.raw_unicode_escape",
    "encodings.unicode_escape",
    "encodings.utf_16",
    "encodings.utf_16_be",
    "encodings.utf_16_le",
    "encodings.utf_32",
    "encodings.utf_8_sig",
)
#: The name of the user's file as a module.
_MAIN = "processor"


class BuildError(Exception):
    """The file is no processor. The message is for the user."""


def _find(file: str) -> str:
    for folder in sys.path:
        path = os.path.join(folder, file)
        if os.path.isfile(path):
            return path
    raise BuildError(f"{file} was not found")


def _import_main(path: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _workers_of(module: ModuleType, source: str) -> None:
    """Makes the workers of a file that makes them when it is run as a program: `Worker("name", function)` anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="Worker") | ast.Attribute(attr="Worker"),
                args=[ast.Constant(value=str(queue)), ast.Name(id=function), *_],
            ):
                found = getattr(module, function, None)
                if callable(found) and queue not in workers:
                    Worker(queue, found)


def _processor_of(module: ModuleType, source: str) -> Processor | None:
    """What processes the jobs of queues that no worker names."""
    if not workers:
        _workers_of(module, source)
    process = getattr(module, "process", None)
    if callable(process):
        return Processor(process)
    if workers:
        return None
    raise BuildError(
        "no processor: define `async def process(job, token)`, or make a `Worker(queue, function)` for each queue"
    )


def _import_later(names: list[str]) -> None:
    """Imports what functions import when they are called. What cannot be imported fails there, as it would anywhere."""
    for name in (*_LATER, *names):
        try:
            importlib.import_module(name)
        except Exception as error:
            if name in names and not isinstance(error, ModuleNotFoundError):
                print(f"warning: {name} cannot be imported: {error}", file=sys.stderr)


def _sends_requests() -> bool:
    return importlib.util.find_spec("wit_world.imports.outgoing_handler") is not None


def _beside_the_app(name: str) -> str:
    """A file that the build and the component share while the component is made."""
    return os.path.join(os.path.dirname(sys.modules["toril_app"].__file__ or ""), name)


def _install_zones() -> None:
    path = _beside_the_app("zones.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            _zones.install(file.read())


def _keep_sources(folder: str) -> None:
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.startswith(folder) and path.endswith(".py"):
            with open(path, encoding="utf-8") as file:
                _failure.keep_source(path, file.read())


def _warm_up(module: ModuleType, loop: _loop.Loop) -> None:
    """Runs what the user wants to have run once, before the snapshot; and the way of a failure."""
    warmup = getattr(module, "warmup", None)
    if callable(warmup):
        value = warmup()
        if value is not None and hasattr(value, "__await__"):
            loop.run(value)
    try:
        raise ValueError("warm")
    except ValueError as error:
        _failure.stack_of(error)


def _fail(error: BaseException) -> None:
    """Says on stderr what went wrong, in the user's terms, and ends the build."""
    if isinstance(error, BuildError):
        text = str(error)
    elif isinstance(error, SyntaxError):
        error.filename = _failure.shown(error.filename or "")
        text = "".join(traceback.format_exception_only(error)).rstrip("\n")
    else:
        text = _failure.stack_of(error) or repr(error)
    print(f"toril-build-error\n{text}\ntoril-build-error", file=sys.stderr, flush=True)
    os._exit(1)


def prepare(file: str, later: list[str], draws: bool) -> Attempts:
    """Makes the processor of a file. `later` are modules that its functions import; `draws` says whether it, or what it
    imports, draws random numbers."""
    Building.now = True
    path = _find(file)
    folder = path[: -len(file)]
    _failure.Places.prefixes = [(folder, "")]
    try:
        with _sockets.refused():
            attempts = _prepared(path, folder, later, draws)
        _finish()
        return attempts
    except BaseException as error:
        _fail(error)
        raise


def _prepared(path: str, folder: str, later: list[str], draws: bool) -> Attempts:
    loop = _loop.install()
    _alias.install()
    notes = _fresh.note_seeds() if draws else None
    refusal = _compiled.refuse()
    name = os.path.basename(path).removesuffix(".py").replace("-", "_")
    module = _import_main(path, name if name.isidentifier() and name not in sys.stdlib_module_names else _MAIN)
    with open(path, encoding="utf-8") as source:
        exported = _processor_of(module, source.read())
    _import_later(later)
    sys.meta_path.remove(refusal)
    _codecs.install()
    _executors.install()
    _install_zones()
    if "urllib.request" in sys.modules and _sends_requests():
        importlib.import_module("toril._urllib").install()
    _keep_sources(folder)
    _logging.install()
    _warm_up(module, loop)
    attempts = Attempts(exported, loop)
    if notes is not None:
        _fresh.find_generators(notes)
        del notes
    _rehearsal.rehearse(loop)
    return attempts


def _finish() -> None:
    """Leaves nothing of the machine that built this, and as little as can be for an instance to write to."""
    _loop.finish()
    os.environ._data.clear()  # type: ignore[attr-defined]
    sys.argv[:] = ["processor"]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    Building.now = False
    gc.collect()
    with open(_beside_the_app("objects.bin"), "wb") as file:
        _objects.write_to(file)
    gc.collect()
    # Objects of the snapshot are never looked at again: to look would be to write to their pages.
    gc.freeze()
