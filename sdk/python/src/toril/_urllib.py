"""`urllib.request` over `wasi:http`: `urlopen` works as it does elsewhere. It blocks: to have several requests under way
at once, use `toril.http`."""

from __future__ import annotations

import io
import urllib.request
import urllib.response
from collections.abc import Coroutine
from email.message import Message
from http.client import responses
from typing import Any
from urllib.error import URLError

from ._loop import blocking
from ._wasi_http import HttpError, Request, send


async def _exchange(request: Request) -> tuple[int, list[tuple[str, bytes]], bytes]:
    answer = await send(request)
    try:
        parts = []
        while part := await answer.read():
            parts.append(part)
        return answer.status, answer.headers, b"".join(parts)
    finally:
        answer.close()


def _finished(work: Coroutine[Any, Any, Any]) -> Any:
    with blocking():
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
    raise RuntimeError("a request that blocks was suspended")


class _Handler(
    urllib.request.HTTPHandler, urllib.request.HTTPSHandler if hasattr(urllib.request, "HTTPSHandler") else object
):  # type: ignore[misc]
    def _open(self, req: urllib.request.Request) -> Any:
        timeout = req.timeout if isinstance(req.timeout, (int, float)) else None
        data = req.data if isinstance(req.data, (bytes, bytearray)) or req.data is None else b"".join(req.data)  # type: ignore[arg-type]
        headers = [*req.unredirected_hdrs.items(), *req.headers.items()]
        try:
            found = _finished(_exchange(Request(req.get_method(), req.full_url, headers, data, timeout)))
        except HttpError as error:
            raise URLError(str(error)) from error
        return _response(req.full_url, *found)

    http_open = https_open = _open
    https_request = urllib.request.AbstractHTTPHandler.do_request_


def _response(url: str, status: int, headers: list[tuple[str, bytes]], body: bytes) -> Any:
    message = Message()
    for name, value in headers:
        message[name] = value.decode("latin-1")
    response = urllib.response.addinfourl(io.BytesIO(body), message, url, status)
    response.msg = responses.get(status, "")  # type: ignore[attr-defined]
    return response


def install() -> None:
    """Makes this what `urlopen` uses."""
    urllib.request.install_opener(urllib.request.build_opener(_Handler))
