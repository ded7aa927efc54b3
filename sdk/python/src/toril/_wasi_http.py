"""One request over `wasi:http`. Resources are let go in the order that the host wants: what was made of another first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ._host import Err, well_formed
from ._loop import ready

try:
    from wit_world.imports import outgoing_handler, streams, types
except ImportError:
    outgoing_handler = streams = types = None  # type: ignore[assignment]

_CHUNK = 64 * 1024
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
#: Headers that the host sets by itself.
_OF_THE_HOST = {"host", "content-length", "connection", "transfer-encoding", "keep-alive", "upgrade", "http2-settings",
                "proxy-connection"}  # fmt: skip


class HttpError(Exception):
    """A request that got no answer. `code` is the case of `wasi:http`'s error, such as `connection-refused`."""

    def __init__(self, message: str, code: str | None = None):
        super().__init__(message)
        self.code = code


@dataclass
class Request:
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes | None
    #: Seconds until it is connected, and until it is answered.
    timeout: float | None


def _code(found: Any) -> str:
    """The name of an `error-code` in WIT, in lower case."""
    words = type(found).__name__.removeprefix("ErrorCode_")
    return "".join(
        "-" + c.lower() if c.isupper() and n and not words[n - 1].isupper() else c.lower() for n, c in enumerate(words)
    )


def _error(found: Any, request: Request) -> HttpError:
    """The Python error for an `error-code`."""
    code = _code(found)
    detail = getattr(found, "value", None)
    text = f" ({detail})" if isinstance(detail, (str, int)) else ""
    where = urlsplit(request.url)
    return HttpError(
        f"{request.method} {where.scheme}://{where.netloc}{where.path}: {code.replace('-', ' ')}{text}", code
    )


def _outgoing(request: Request) -> Any:
    parts = urlsplit(request.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not a URL that can be requested: `{request.url}`")
    headers = [(well_formed(name), well_formed(value).encode()) for name, value in request.headers if name.lower() not in _OF_THE_HOST]
    outgoing = types.OutgoingRequest(types.Fields.from_list(headers))
    known = request.method in _METHODS
    outgoing.set_method(
        getattr(types, f"Method_{request.method.title()}")() if known else types.Method_Other(well_formed(request.method))
    )
    outgoing.set_scheme(types.Scheme_Https() if parts.scheme == "https" else types.Scheme_Http())
    outgoing.set_authority(well_formed(parts.netloc.rpartition("@")[2]))
    path = parts.path.replace(" ", "%20") or "/"
    outgoing.set_path_with_query(well_formed(f"{path}?{parts.query}" if parts.query else path))
    return outgoing


#: A longer time would not fit in 64 bits of nanoseconds.
_TIMEOUT_SECONDS_MAX = 1e10


def _options(timeout: float | None) -> Any:
    if timeout is None:
        return None
    options = types.RequestOptions()
    nanoseconds = max(1, int(min(timeout, _TIMEOUT_SECONDS_MAX) * 1e9))
    options.set_connect_timeout(nanoseconds)
    options.set_first_byte_timeout(nanoseconds)
    options.set_between_bytes_timeout(nanoseconds)
    return options


async def _until_ready(of: Any) -> None:
    with of.subscribe() as pollable:
        await ready(pollable)


async def _write(body: Any, content: bytes) -> None:
    with body.write() as stream:
        view = memoryview(content)
        while view:
            room = stream.check_write()
            if not room:
                await _until_ready(stream)
                continue
            part = view[: min(room, _CHUNK)]
            stream.write(bytes(part))
            view = view[len(part) :]
        stream.flush()
        await _until_ready(stream)


class Answer:
    """The status and the headers, and the body while it arrives."""

    def __init__(self, request: Request, response: Any):
        self._request = request
        self._response = response
        self.status: int = response.status()
        with response.headers() as fields:
            self.headers: list[tuple[str, bytes]] = fields.entries()
        self._body = response.consume()
        self._stream = self._body.stream()

    async def read(self) -> bytes:
        """The next part of the body; empty at its end."""
        while self._stream is not None:
            try:
                if chunk := self._stream.read(_CHUNK):
                    return chunk
                await _until_ready(self._stream)
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    self.close()
                    break
                reason = error.value.value.to_debug_string()
                found = types.http_error_code(error.value.value)
                self.close()
                code = None if found is None else _code(found)
                raise HttpError(f"{self._request.method} {self._request.url}: {reason}", code) from None
        return b""

    def close(self) -> None:
        for resource in (self._stream, self._body, self._response):
            if resource is not None:
                resource.__exit__(None, None, None)
        self._stream = self._body = self._response = None


async def send(request: Request) -> Answer:
    """Sends a request, and waits for the head of the answer."""
    outgoing = _outgoing(request)
    body = outgoing.body()
    try:
        future = outgoing_handler.handle(outgoing, _options(request.timeout))
    except Err as error:
        raise _error(error.value, request) from None
    with future:
        if request.body:
            try:
                await _write(body, request.body)
            except Err:
                # The connection ended: the answer, or why there is none, comes with it.
                body.__exit__(None, None, None)
                body = None
        if body is not None:
            try:
                types.OutgoingBody.finish(body, None)
            except Err as error:
                raise _error(error.value, request) from None
        await _until_ready(future)
        found = future.get()
    if isinstance(found.value, Err):
        raise _error(found.value.value, request)
    return Answer(request, found.value.value)
