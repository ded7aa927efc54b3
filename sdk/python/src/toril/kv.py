"""Key-value stores that outlive the job: of the queue, or shared with others. A host serves a processor that imports this module
only if the operator grants stores in `grants.kv`.

Values are bytes; keys are text of up to 512 bytes. An asynchronous processor awaits the functions, as it awaits those of the job; in
a synchronous one they return their results directly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

from . import _json
from ._host import Building, Err, Outside, ask, awaited, current_job, well_formed

try:
    from wit_world.imports import atomics, batch
    from wit_world.imports import store as stores
except ImportError:
    atomics = batch = stores = Outside()

__all__ = ["Keys", "KvError", "Store", "open"]

#: An integer of the interface.
_LEAST, _MOST = -(2**63), 2**63 - 1


class KvError(Exception):
    """A call on a store failed. `code` is `denied` if the operator did not grant the store, `invalid` if no store can have this
    name, and `failed` for any other reason: a limit of the operator, a value that is not a number, or an error of Redis."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


def _error_of(name: str, error: Any) -> KvError:
    if isinstance(error, stores.Error_NoSuchStore):
        return KvError(f"`{name}` cannot be the name of a store", "invalid")
    if isinstance(error, stores.Error_AccessDenied):
        queue = ask(current_job.queue_name)
        return KvError(
            f"key-value store `{name}` was refused: not in grants.kv of queue `{queue}`\n"
            f"hint: add `{name}` to `grants.kv.stores` of the queue, or to `grants.kv.shared` if other queues use it",
            "denied",
        )
    return KvError(error.value, "failed")


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return well_formed(value).encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError("a value is a text or bytes; `set_json` takes any other")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _from_json(key: str, value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return _json.loads(value.decode("utf-8", "replace"))
    except ValueError as error:
        raise ValueError(f"value of `{key}` is not JSON: {error}") from error


class Keys:
    """The keys of a store, for `async for` and for `for`. They are read in parts of up to 1,000."""

    def __init__(self, store: Store):
        self._store = store

    def __iter__(self) -> Iterator[str]:
        cursor: str | None = None
        while True:
            part = self._store._ask(lambda bucket, at=cursor: bucket.list_keys(at))
            yield from part.keys
            cursor = part.cursor
            if cursor is None:
                return

    async def __aiter__(self) -> AsyncIterator[str]:
        for key in self:
            yield key


class Store:
    """A store. `open` makes one."""

    def __init__(self, name: str):
        self._name = well_formed(name)

    def __repr__(self) -> str:
        return f"<Store {self._name!r}>"

    def _ask(self, call: Callable[[Any], Any]) -> Any:
        """Opens the store for one call: a handle of the host ends with the attempt, and opening one asks nobody."""
        if Building.now:
            raise RuntimeError(
                "a store was used while the component is built: a module may not use stores when it is imported, only inside of"
                " the processor"
            )
        try:
            with stores.open(self._name) as bucket:
                return call(bucket)
        except Err as error:
            failed = _error_of(self._name, error.value)
        raise failed

    def _get(self, key: str) -> bytes | None:
        return self._ask(lambda bucket: bucket.get(well_formed(key)))

    def _set(self, key: str, value: bytes) -> None:
        self._ask(lambda bucket: bucket.set(well_formed(key), value))

    @awaited
    def get(self, key: str) -> bytes | None:
        """The value of a key; `None` if it has none."""
        return self._get(key)

    @awaited
    def get_text(self, key: str) -> str | None:
        return _text(self._get(key))

    @awaited
    def get_json(self, key: str) -> Any:
        return _from_json(key, self._get(key))

    @awaited
    def set(self, key: str, value: str | bytes) -> None:
        """Writes a value, and replaces an earlier one."""
        self._set(key, _bytes(value))

    @awaited
    def set_json(self, key: str, value: Any) -> None:
        self._set(key, _bytes(_json.dumps(value)))

    @awaited
    def delete(self, key: str) -> None:
        """Removes a key. A key without a value is not an error."""
        self._ask(lambda bucket: bucket.delete(well_formed(key)))

    @awaited
    def exists(self, key: str) -> bool:
        return self._ask(lambda bucket: bucket.exists(well_formed(key)))

    def keys(self) -> Keys:
        """All keys, in the order of their bytes."""
        return Keys(self)

    @awaited
    def increment(self, key: str, by: int = 1) -> int:
        """Adds to a number, and returns the sum; a key without a value counts as 0. Increments of several jobs add up, and an
        increment whose answer is lost is not counted twice. The value is decimal text."""
        if not isinstance(by, int) or not _LEAST <= by <= _MOST:
            raise KvError(f"`{by}` is not an integer of 64 bits", "failed")
        return self._ask(lambda bucket: atomics.increment(bucket, well_formed(key), by))

    @awaited
    def update(self, key: str, change: Callable[[bytes | None], str | bytes]) -> None:
        """Replaces a value by the one that `change` makes from it. If another job writes the key meanwhile, `change` is called
        again with the newer value, until its result can be written."""
        self._update(key, lambda current: _bytes(change(current)))

    @awaited
    def update_json(self, key: str, change: Callable[[Any], Any]) -> Any:
        """`update` of a value that is JSON. Returns what was written."""
        made: Any = None

        def changed(current: bytes | None) -> bytes:
            nonlocal made
            made = change(_from_json(key, current))
            return _bytes(_json.dumps(made))

        self._update(key, changed)
        return made

    def _update(self, key: str, change: Callable[[bytes | None], bytes]) -> None:
        def swapped(bucket: Any) -> None:
            read = atomics.Cas.new(bucket, well_formed(key))
            while read is not None:
                read = self._swap(read, change)

        self._ask(swapped)

    def _swap(self, read: Any, change: Callable[[bytes | None], bytes]) -> Any:
        """`None`, or the value that another job wrote since."""
        try:
            value = change(read.current())
        except BaseException:
            read.__exit__(None, None, None)
            raise
        try:
            atomics.swap(read, value)
        except Err as error:
            if isinstance(error.value, atomics.CasError_CasFailed):
                return error.value.value
            raise Err(error.value.value) from None
        return None

    @awaited
    def get_many(self, keys: Iterable[str]) -> list[bytes | None]:
        """The values of up to 1,000 keys with one call, in their order."""
        wanted = [well_formed(key) for key in keys]
        return [value for _, value in self._ask(lambda bucket: batch.get_many(bucket, wanted))]

    @awaited
    def set_many(self, entries: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]) -> None:
        """Writes up to 1,000 values with one call: all of them, or none if they do not fit."""
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        written = [(well_formed(key), _bytes(value)) for key, value in pairs]
        self._ask(lambda bucket: batch.set_many(bucket, written))

    @awaited
    def delete_many(self, keys: Iterable[str]) -> None:
        """Removes up to 1,000 keys with one call."""
        unwanted = [well_formed(key) for key in keys]
        self._ask(lambda bucket: batch.delete_many(bucket, unwanted))


def open(name: str = "default") -> Store:
    """Names a store, without a call to the host."""
    return Store(name)
