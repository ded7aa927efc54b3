"""A client for HTTP, modelled on httpx. A host serves a processor that imports this module only if the operator grants
requests in `grants.http`.

An asynchronous processor awaits the functions, and the requests of a `gather` run concurrently. In a synchronous one they return
the response directly."""

from __future__ import annotations

from asyncio import _get_running_loop
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

from . import _json, _wasi_http
from ._wasi_http import HttpError

__all__ = ["Client", "Headers", "HttpError", "HttpStatusError", "Response", "delete", "get", "head", "patch", "post",
           "put", "request", "stream"]  # fmt: skip

HttpError.__module__ = "toril.http"

_REDIRECTS = {301, 302, 303, 307, 308}
_REDIRECTS_MAX = 10
#: Headers that go with a body, and headers that are not for another server.
_BODY_HEADERS = {"content-length", "content-type", "content-encoding", "transfer-encoding"}
_SECRET_HEADERS = {"authorization", "cookie", "proxy-authorization"}


class HttpStatusError(HttpError):
    """A response of 400 or above, from `raise_for_status`."""

    def __init__(self, response: Response):
        super().__init__(f"{response.status_code} for {response.method} {response.url}")
        self.response = response


class Headers(Mapping[str, str]):
    """Headers by name; the case of a name does not matter. Several headers with one name are joined."""

    def __init__(self, entries: Iterable[tuple[str, str]]):
        self.raw = list(entries)
        self._values: dict[str, str] = {}
        for name, value in self.raw:
            name = name.lower()
            self._values[name] = f"{self._values[name]}, {value}" if name in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_list(self, name: str) -> list[str]:
        return [value for found, value in self.raw if found.lower() == name.lower()]

    def __repr__(self) -> str:
        return f"Headers({self._values})"


class Response:
    """A response. `content`, `text` and `json()` need its whole body, which `request` reads and `stream` does not."""

    def __init__(self, method: str, url: str, answer: _wasi_http.Answer):
        self.method = method
        self.url = url
        self.status_code = answer.status
        self.headers = Headers((name, value.decode("latin-1")) for name, value in answer.headers)
        self._answer = answer
        self._content: bytes | None = None

    def __repr__(self) -> str:
        return f"<Response {self.status_code} {self.url}>"

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    ok = is_success

    def raise_for_status(self) -> Response:
        if self.status_code >= 400:
            raise HttpStatusError(self)
        return self

    @property
    def content(self) -> bytes:
        if self._content is None:
            raise HttpError("the response was not read: `await response.aread()`")
        return self._content

    @property
    def encoding(self) -> str:
        for part in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = part.strip().partition("=")
            if name.lower() == "charset":
                return value.strip("\"' ")
        return "utf-8"

    @property
    def text(self) -> str:
        try:
            return self.content.decode(self.encoding, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        return _json.loads(self.content)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The body, part by part, as it arrives."""
        while chunk := await self._answer.read():
            yield chunk

    async def aiter_lines(self) -> AsyncIterator[str]:
        rest = b""
        async for chunk in self.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode(self.encoding, "replace")
        if rest:
            yield rest.decode(self.encoding, "replace")

    async def aread(self) -> bytes:
        if self._content is None:
            self._content = b"".join([chunk async for chunk in self.aiter_bytes()])
        return self._content

    async def aclose(self) -> None:
        self._answer.close()


def _body(content: Any, data: Any, json: Any) -> tuple[bytes | None, str | None]:
    """The body of a request, and its type."""
    if json is not None:
        return _json.dumps(json).encode(), "application/json"
    if isinstance(data, Mapping):
        return urlencode(data, doseq=True).encode(), "application/x-www-form-urlencoded"
    given = content if content is not None else data
    if isinstance(given, str):
        return given.encode(), "text/plain; charset=utf-8"
    return (bytes(given) if given is not None else None), None


def _pairs(headers: Any) -> list[tuple[str, str]]:
    entries = headers.items() if isinstance(headers, Mapping) else headers or []
    return [(str(name), str(value)) for name, value in entries]


def _drive(work: Coroutine[Any, Any, Any]) -> Any:
    """The coroutine itself where a loop runs; else its result: without a loop it waits by blocking, and never suspends."""
    if _get_running_loop() is not None:
        return work
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("this waits for something else than the host")


class Client:
    """Sends requests with a common base URL, headers or time limit."""

    def __init__(
        self,
        *,
        base_url: str = "",
        headers: Any = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        follow_redirects: bool = True,
    ):
        self.base_url = base_url
        self.headers = _pairs(headers)
        self.auth = auth
        self.timeout = timeout
        self.follow_redirects = follow_redirects

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _request(self, method: str, url: str, options: dict[str, Any]) -> tuple[_wasi_http.Request, bool]:
        """The request, and whether redirects are followed."""
        url = urljoin(self.base_url, url) if self.base_url else url
        if params := options.pop("params", None):
            query = urlencode(params, doseq=True)
            url += ("&" if urlsplit(url).query else "?") + query
        body, kind = _body(options.pop("content", None), options.pop("data", None), options.pop("json", None))
        headers = {
            name.lower(): (name, value) for name, value in [*self.headers, *_pairs(options.pop("headers", None))]
        }
        if kind and "content-type" not in headers:
            headers["content-type"] = ("content-type", kind)
        if auth := options.pop("auth", self.auth):
            token = b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
            headers["authorization"] = ("authorization", f"Basic {token}")
        timeout = options.pop("timeout", self.timeout)
        follow = options.pop("follow_redirects", self.follow_redirects)
        if options:
            raise TypeError(f"unknown option of a request: {', '.join(options)}")
        return _wasi_http.Request(method.upper(), url, list(headers.values()), body, timeout), follow

    async def _send(self, request: _wasi_http.Request, follow: bool) -> Response:
        for _ in range(_REDIRECTS_MAX + 1):
            answer = await _wasi_http.send(request)
            response = Response(request.method, request.url, answer)
            target = response.headers.get("location")
            if not follow or target is None or response.status_code not in _REDIRECTS:
                return response
            answer.close()
            request = _redirected(request, urljoin(request.url, target), response.status_code)
        raise HttpError(f"more than {_REDIRECTS_MAX} redirects")

    async def _read(self, request: _wasi_http.Request, follow: bool) -> Response:
        response = await self._send(request, follow)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    def request(self, method: str, url: str, **options: Any) -> Any:
        """`params`, `headers`, `content`, `data` (a dict is a form), `json`, `auth`, `timeout` in seconds,
        `follow_redirects`."""
        return _drive(self._read(*self._request(method, url, options)))

    @asynccontextmanager
    async def stream(self, method: str, url: str, **options: Any) -> AsyncIterator[Response]:
        """A response whose body is read part by part: `async with client.stream("GET", url) as response`."""
        response = await self._send(*self._request(method, url, options))
        try:
            yield response
        finally:
            await response.aclose()

    def get(self, url: str, **options: Any) -> Any:
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Any) -> Any:
        return self.request("HEAD", url, **options)

    def post(self, url: str, **options: Any) -> Any:
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Any:
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Any:
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Any:
        return self.request("DELETE", url, **options)


def _redirected(request: _wasi_http.Request, url: str, status: int) -> _wasi_http.Request:
    """The request after a redirect: without the body where the method changes, without secrets for another server."""
    method, body, headers = request.method, request.body, request.headers
    if status == 303 and method != "HEAD" or status in (301, 302) and method == "POST":
        method, body = "GET", None
        headers = [pair for pair in headers if pair[0].lower() not in _BODY_HEADERS]
    if urlsplit(url)[:2] != urlsplit(request.url)[:2]:
        headers = [pair for pair in headers if pair[0].lower() not in _SECRET_HEADERS]
    return _wasi_http.Request(method, url, headers, body, request.timeout)


_default = Client()
request = _default.request
stream = _default.stream
get = _default.get
head = _default.head
post = _default.post
put = _default.put
patch = _default.patch
delete = _default.delete
