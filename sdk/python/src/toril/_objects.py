"""Lists the objects of the snapshot, for the build to make them immortal: then nobody counts the references to them, and
an instance does not write to the pages that they are on."""

from __future__ import annotations

import gc
from array import array
from types import CodeType, CoroutineType, FrameType, GeneratorType, TracebackType
from typing import Any, BinaryIO

#: What comes to its end by being let go.
_LIVING = (FrameType, GeneratorType, CoroutineType, TracebackType)
_PAIRS = 4096


class _Seen:
    """A set of addresses: a bit for each eight bytes, so that listing leaves little behind."""

    def __init__(self) -> None:
        self._bits = bytearray(1 << 20)

    def add(self, address: int) -> bool:
        """False where it was there."""
        at, bit = address >> 6, 1 << (address >> 3 & 7)
        if at >= len(self._bits) or self._bits[at] & bit:
            return False
        self._bits[at] |= bit
        return True


def _referents(item: Any) -> list[Any]:
    if type(item) is not CodeType:
        return gc.get_referents(item)
    texts = (item.co_filename, item.co_name, item.co_qualname, item.co_linetable, item.co_exceptiontable)
    names = (*item.co_varnames, *item.co_freevars, *item.co_cellvars)
    return [item.co_consts, item.co_names, *texts, *names]


def write_to(file: BinaryIO) -> None:
    """Writes address and type of each object that can be reached, as 32-bit numbers."""
    pairs = array("I")
    pending = gc.get_objects()
    seen = _Seen()
    for own in (pending, pairs, seen, seen._bits):
        seen.add(id(own))
    while pending:
        item = pending.pop()
        if not seen.add(id(item)) or isinstance(item, _LIVING):
            continue
        pairs.append(id(item))
        pairs.append(id(type(item)))
        pending += _referents(item)
        if len(pairs) >= 2 * _PAIRS:
            pairs.tofile(file)
            del pairs[:]
    pairs.tofile(file)
