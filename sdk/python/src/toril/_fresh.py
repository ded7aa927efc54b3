"""What a snapshot froze and each instance must have anew: random numbers, ids and the environment."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from ._host import environment

#: What hosts tell engines; the operator granted no such variables.
_FOR_ENGINES = ("TORIL_MEMORY_BYTES_MAX", "TORIL_REUSE")
#: Generators of random numbers that nobody seeded on purpose.
_generators: list[Any] = []


class _Notes:
    """Notes which generators are seeded with a value: they repeat it, as their owner wants."""

    def __init__(self, kind: Any):
        self.kind = kind
        self.seeded: set[int] = set()
        self.seed = kind.seed

    def begin(self) -> None:
        def seed(generator: Any, a: Any = None, version: int = 2) -> None:
            (self.seeded.discard if a is None else self.seeded.add)(id(generator))
            self.seed(generator, a, version)

        self.kind.seed = seed

    def end(self) -> None:
        self.kind.seed = self.seed


def note_seeds() -> Any:
    """From here on notes which generators are seeded; `find_generators` wants the notes."""
    import random

    notes = _Notes(random.Random)
    notes.begin()
    return notes


def find_generators(notes: Any) -> None:
    """Finds the generators that are to be seeded in each instance."""
    import random

    notes.end()
    for found in gc.get_objects():
        if isinstance(found, random.Random) and not isinstance(found, random.SystemRandom):
            if found is random._inst or id(found) not in notes.seeded:  # type: ignore[attr-defined]
                _generators.append(found)


def renew() -> None:
    """Begins an instance."""
    for generator in _generators:
        generator.seed(int.from_bytes(os.urandom(16)))
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None  # type: ignore[attr-defined]
    granted = environment.get_environment()
    data = os.environ._data  # type: ignore[attr-defined]
    data.clear()
    for name, value in granted:
        if name in _FOR_ENGINES:
            continue
        data[name.encode()] = value.encode()
