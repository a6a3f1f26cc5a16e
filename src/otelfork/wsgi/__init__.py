"""The WSGI edge: environ to facts, `start_response` and the iterable to calls of the Exchange. PEP 3333 to the letter.

The request's context is current while the application's code runs (its call, each step of its iterable, its `close`) and
at no other time, so that nothing of one request stays on the thread for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from otelfork.lane.current import ways
from otelfork.request import frameworks, origin, routes
from otelfork.request.exchange import MARK
from otelfork.request.hooks import NO_HOOKS, Hooks, call, call_within, lend, once
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Plan
from otelfork.request.origin import suppressed, traced_outside
from otelfork.request.propagation import DEFAULT, reads_alike, sender
from otelfork.settings.http import HttpSettings
from otelfork.settings.propagators import propagate
from otelfork.wsgi.body import wrap
from otelfork.wsgi.environ import GETTER, Environ, key, may_have_body, raw_path, read, sketch, watch_input
from otelfork.wsgi.response import Blocks, Response, StartResponse, end

WSGIApplication: TypeAlias = "Callable[[Environ, StartResponse], Iterable[bytes]]"


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
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self.app = app
        self._instruments = instruments
        self._settings = settings
        self._hooks = hooks
        self._lends = hooks.request_hook is not None or hooks.response_hook is not None
        self._plan: Plan | None = None
        self._current, self._attach, self._detach = self._ways = ways()
        frameworks.prepare(app)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as the application does."""
        try:
            response = self._begin(environ)
        except Exception:
            once("a request could not be recorded", "wsgi.begin")
            response = None
        if response is None:
            return self.app(environ, self._lend(environ, start_response) if self._lends else start_response)
        hooks = self._hooks
        response.server = start_response
        response.hooks = hooks
        token = self._attach(response.context)
        try:
            if hooks.request_hook is not None:  # here, for what is no Exception ends the request
                call("request_hook", hooks.request_hook, response.span, environ)
            result = self.app(environ, response.start)
        except BaseException as error:
            response.fail(error)
            end(response)
            raise
        finally:
            self._detach(token)
        kind = type(result)
        if kind is list or kind is tuple:
            return Blocks(result, response)
        body: Iterable[bytes] = wrap(result, response, environ.get("wsgi.file_wrapper"), self._ways)
        return body

    def _lend(self, environ: Environ, start_response: StartResponse) -> StartResponse:
        """Call the hooks with the request of a middleware around this one; return the `start_response` for the application."""
        outer = environ.get(MARK)
        if outer is None or outer.ended:
            return start_response
        lent = lend(outer, self._hooks)
        if lent.request_hook is not None:
            call_within(outer.context, "request_hook", lent.request_hook, outer.span, environ)
        hook = lent.response_hook
        if hook is None:
            return start_response

        def start(status: str, headers: list[tuple[str, str]], *exc_info: object) -> Callable[[bytes], object]:
            call("response_hook", hook, outer.span, environ, status, headers)
            return start_response(status, headers, *exc_info)

        return start

    def _begin(self, environ: Environ) -> Response | None:
        """Begin an exchange, or return None where there is none to record."""
        outer = environ.get(MARK)
        if outer is not None and not outer.ended:
            if environ is not outer.carriers[-1]:
                outer.carriers.append(environ)
            return None
        instruments = self._instruments()
        current = self._current()
        if instruments is None or (current and suppressed()):
            return None
        plan = self._plan
        if plan is None or plan.instruments is not instruments:
            self._plan = plan = Plan(instruments, self._settings, routes.of_environ, self._hooks)
        known = key(environ, plan)
        kind = plan.kinds.get(known) or plan.kind(known, read(environ, plan.settings))
        own = sketch(environ, plan)
        search = plan.search_excluded
        if search is not None and search(kind.full_url(own)):
            return None
        if (
            current
            or "HTTP_BAGGAGE" in environ
            or "HTTP_TRACESTATE" in environ
            or not ((seated := propagate.get_global_textmap()) is DEFAULT or reads_alike(seated))
        ):
            if current and traced_outside(kind.request(own), environ, raw_path):
                return None
            response = Response(plan, kind, own, environ, None, (origin.parent_context(environ, GETTER), None))
        else:
            header = environ.get("HTTP_TRACEPARENT")
            response = Response(plan, kind, own, environ, None if header is None else sender(header))
        response.headers_sent = ()
        environ[MARK] = response
        if may_have_body(environ, kind.version):
            watch_input(environ, response)
        return response
