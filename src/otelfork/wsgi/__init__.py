"""The WSGI edge: environ to Request, `start_response` and the iterable to calls of the Exchange. PEP 3333 to the letter.

The request's context is current while the application's code runs (its call, each step of its iterable, its `close`) and
at no other time, so that nothing of one request stays on the thread for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, final

from opentelemetry.context import attach, detach

from otelfork import exits
from otelfork.request import frameworks, routes
from otelfork.request.attributes import full_url
from otelfork.request.exchange import MARK, Exchange
from otelfork.request.hooks import Hooks, call, call_within, once
from otelfork.request.instruments import Instruments
from otelfork.request.origin import suppressed, traced_outside
from otelfork.settings.http import HttpSettings
from otelfork.wsgi.body import wrap
from otelfork.wsgi.environ import GETTER, Environ, raw_path, read, watch_input

StartResponse: TypeAlias = "Callable[..., Callable[[bytes], object]]"
WSGIApplication: TypeAlias = "Callable[[Environ, StartResponse], Iterable[bytes]]"

_NO_HOOKS = Hooks()


class WSGIMiddleware:
    """A WSGI application around another one that records each of its requests.

    Args:
        app: the application.
        instruments: asked once at the beginning of each request; None means to pass the request through untouched.
        settings: what to record, hide and add.
        hooks: what the user wants to be called with.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        instruments: Callable[[], Instruments | None],
        settings: HttpSettings,
        hooks: Hooks = _NO_HOOKS,
    ) -> None:
        self.app = app
        self._instruments = instruments
        self._settings = settings
        self._hooks = hooks
        frameworks.prepare(app)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as the application does."""
        exchange = self._begin(environ)
        if exchange is None:
            return self.app(environ, start_response)
        response = Response(exchange, environ, start_response, self._hooks)
        token = attach(exchange.context)
        try:
            result = self.app(environ, response.start)
        except BaseException as error:
            exchange.fail(error)
            end(exchange)
            raise
        finally:
            detach(token)
        body: Iterable[bytes] = wrap(result, response, environ.get("wsgi.file_wrapper"), end)
        return body

    def _begin(self, environ: Environ) -> Exchange | None:
        """Begin an exchange, or return None where there is none to record. The guard of the request's begin."""
        try:
            outer = environ.get(MARK)
            if outer is not None and not outer.ended:
                if environ is not outer.carriers[-1]:
                    outer.carriers.append(environ)
                return None
            instruments = self._instruments()
            if instruments is None or suppressed():
                return None
            settings = self._settings
            request = read(environ, settings)
            if settings.excluded is not None and settings.excluded.search(full_url(request, settings)):
                return None
            if traced_outside(request, environ, raw_path):
                return None
            exchange = Exchange(request, environ, GETTER, instruments, settings, find_route=routes.of_environ)
        except Exception:
            once("a request could not be recorded", "wsgi.begin")
            return None
        environ[MARK] = exchange
        watch_input(environ, exchange)
        hook = self._hooks.request_hook
        if hook is not None:
            call_within(exchange.context, "request_hook", hook, exchange.span, environ)
        return exchange


def end(exchange: Exchange) -> None:
    """End an exchange, and flush if this process was told to go: it may be gone after this request."""
    exchange.end()
    exits.finish_request()


@final
class Response:
    """The response of one request on its way from the application to the server."""

    __slots__ = ("_environ", "_hook", "_server", "_write", "exchange", "headers")

    def __init__(
        self,
        exchange: Exchange,
        environ: Environ,
        start_response: StartResponse,
        hooks: Hooks,
    ) -> None:
        self.exchange = exchange
        self.headers: list[tuple[str, str]] = []
        self._environ = environ
        self._server = start_response
        self._hook = hooks.response_hook
        self._write: Callable[[bytes], object] | None = None

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """Pass `start_response` on to the server, and note what it was called with once the server has accepted it."""
        hook = self._hook
        if hook is not None:
            call("response_hook", hook, self.exchange.span, self._environ, status, headers)
        if self.exchange.settings.answers:
            headers = self._answer(headers)
        if exc_info is None:
            self._write = self._server(status, headers)
        else:
            self._failed(exc_info)
            self._write = self._server(status, headers, exc_info)
        self._started(status, headers)
        return self.write

    def write(self, data: bytes) -> object:
        """Pass on what the application writes by the imperative way of PEP 3333, and count it."""
        write = self._write
        if write is None:  # cannot be: the application gets this method from `start`
            raise AssertionError("write() before start_response()")
        result = write(data)
        self.exchange.sent += len(data)
        return result

    def length(self) -> int | None:
        """Return the `Content-Length` that was announced, in bytes."""
        for name, value in self.headers:
            if name.lower() == "content-length" and value.strip().isdigit():
                return int(value)
        return None

    def _answer(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        try:
            present = {name.lower() for name, _ in headers}
            added = [pair for pair in self.exchange.headers() if pair[0].lower() not in present]
        except Exception:
            once("headers could not be added to a response", "wsgi.answer")
            return headers
        return [*headers, *added]

    def _failed(self, exc_info: Any) -> None:
        error = exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) == 3 else None
        if isinstance(error, BaseException):
            self.exchange.fail(error)

    def _started(self, status: str, headers: list[tuple[str, str]]) -> None:
        try:
            self.headers = headers
            code = status[:3]
            self.exchange.respond(int(code) if code.isdigit() else None, headers)
        except Exception:
            once("the start of a response could not be recorded", "wsgi.started")
