"""The page inside the application: `OtelMiddleware(app, metrics_path="/metrics")`. Any worker answers for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol

_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


class Page(Protocol):
    """What answers a scrape (see `page.Page`)."""

    def answer(self, accept: str, accept_encoding: str) -> tuple[dict[str, str], bytes]:
        """Return headers and body."""


def answer_wsgi(page: Page | None, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a WSGI request with the page."""
    method = environ.get("REQUEST_METHOD", "GET")
    accept, encoding = environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", "")
    status, headers, body = _answer(page, method, accept, encoding)
    start_response(f"{status.value} {status.phrase}", list(headers.items()))
    return [body] if method != "HEAD" else []


async def answer_asgi(page: Page | None, scope: dict[str, Any], send: Callable[[dict[str, Any]], Any]) -> None:
    """Answer an ASGI request with the page. The loop goes on meanwhile, if it is asyncio's."""
    method = scope["method"]
    given = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    asked = (page, method, given.get(b"accept", ""), given.get(b"accept-encoding", ""))
    # Here: a WSGI worker does without, and `ssl`, which comes with it, is imported after gevent's patch.
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        status, headers, body = _answer(*asked)
    else:
        status, headers, body = await loop.run_in_executor(None, _answer, *asked)
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status.value, "headers": raw})
    await send({"type": "http.response.body", "body": body if method != "HEAD" else b""})


def _answer(
    page: Page | None, method: str, accept: str, accept_encoding: str
) -> tuple[HTTPStatus, dict[str, str], bytes]:
    if method not in {"GET", "HEAD"}:
        return HTTPStatus.METHOD_NOT_ALLOWED, {**_PLAIN, "Allow": "GET, HEAD", "Content-Length": "0"}, b""
    if page is None:
        body = b"This process has no metrics of its own to show.\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, {**_PLAIN, "Content-Length": str(len(body))}, body
    return HTTPStatus.OK, *page.answer(accept, accept_encoding)
