"""The response of one WSGI request on its way from the application to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter_ns
from typing import Any, TypeAlias, final

from otelfork import exits
from otelfork.request.answers import added
from otelfork.request.exchange import Exchange
from otelfork.request.hooks import Hooks, call, once
from otelfork.request.rest import DISCONNECT
from otelfork.request.routes import DJANGO, FLEETING

StartResponse: TypeAlias = "Callable[..., Callable[[bytes], object]]"
_code = {f"{code:03}": code for code in range(1000)}.get


def end(exchange: Exchange) -> None:
    """End an exchange, and flush if this process was told to go: it may be gone after this request."""
    exchange.end()
    if exits.going:
        exits.finish_request()


@final
class Response(Exchange):
    """One request's exchange, which is also its `start_response`.

    Attributes:
        server: the server's `start_response`.
        lent: see `request.hooks.Hooked`.
        headers_sent: what the application called `start_response` with.
    """

    __slots__ = ("_write", "headers_sent", "lent", "server")

    server: StartResponse
    lent: Hooks
    headers_sent: Sequence[tuple[str, str]]
    _write: Callable[[bytes], object]

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """Pass `start_response` on to the server, and note what it was called with once the server has accepted it."""
        plan = self._plan
        if exc_info is not None or not plan.plain_responses:
            return self._start_generally(status, headers, exc_info)
        server = self.server  # read first and called then: in one step the interpreter looks for a method of the class
        self._write = server(status, headers)
        try:
            self.headers_sent = headers
            self.status = code = _code(status[:3])
            if self.route is None:  # looked for now where it is gone, or another thread's, when the call returns
                carriers = self.carriers
                if carriers and (FLEETING in carriers[-1] or DJANGO in carriers[-1] or len(carriers) > 1):
                    self.route = plan.find_route(carriers, code)
        except Exception:
            once("the start of a response could not be recorded", "wsgi.started")
        return self

    def _start_generally(self, status: str, headers: list[tuple[str, str]], exc_info: Any) -> Callable[[bytes], object]:
        hook = self.hooks.response_hook
        if hook is not None and self.carriers:
            call("response_hook", hook, self.span, self.carriers[0], status, headers)
        if self._plan.answers:
            headers = self._answer(headers)
        if exc_info is None:
            self._write = self.server(status, headers)
        else:
            self._failed_with(exc_info)
            self._write = self.server(status, headers, exc_info)
        try:
            self.headers_sent = headers
            self.respond(_code(status[:3]), headers)
        except Exception:
            once("the start of a response could not be recorded", "wsgi.started")
        return self

    def __call__(self, data: bytes) -> object:
        """Pass on what the application writes by the imperative way of PEP 3333, and count it: `start` returns this object."""
        result = self._write(data)
        self.sent += len(data)
        return result

    def length(self) -> int | None:
        """Return the `Content-Length` that was announced, in bytes."""
        for name, value in self.headers_sent:
            if name.lower() == "content-length" and value.strip().isdigit():
                return int(value)
        return None

    def stopped(self) -> None:
        """Note a client that left early, unless the server had no reason to take more."""
        if self.bodiless():
            return
        announced = self.length()
        if announced is None or self.sent < announced:
            self.cut(DISCONNECT)

    def _answer(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        try:
            present = {name.lower() for name, _ in headers}
            ours = [pair for pair in added(self.span, self.settings) if pair[0].lower() not in present]
        except Exception:
            once("headers could not be added to a response", "wsgi.answer")
            return headers
        return [*headers, *ours]

    def _failed_with(self, exc_info: Any) -> None:
        error = exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) == 3 else None
        if isinstance(error, BaseException):
            self.fail(error)


@final
class Blocks:
    """A list or tuple of blocks: no code of the application runs between them, so the server iterates over the real one.

    An object beside the response, which the environ holds: a server that neither iterates nor closes lets go of this one. It has
    no constructor: a call of the class would cost more than all that is done here.

    Attributes:
        blocks: what the application gave.
        response: the request's.
        iterators: None to begin with; the iterators that the server has asked for, as one.
    """

    __slots__ = ("blocks", "iterators", "response")

    blocks: Any
    response: Response
    iterators: Any

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[bytes]:
        # Servers may ask more than once (gevent adds up the lengths first), so each gets an iterator of its own.
        iterator: Iterator[bytes] = iter(self.blocks)
        self.iterators = iterator if self.iterators is None else _Iterators(iterator, self.iterators)
        return iterator

    def close(self) -> None:
        """End the exchange. A second call does nothing."""
        response = self.response
        if response.ended:
            return
        if response.finished_at is None:
            response.finished_at = perf_counter_ns()
            blocks, iterators = self.blocks, self.iterators
            try:
                left = len(blocks) if iterators is None else iterators.__length_hint__()
                sent = response.sent
                for block in blocks[: len(blocks) - left] if left else blocks:
                    sent += len(block)
                response.sent = sent
                if left:  # the server stopped before the end
                    response.stopped()
            except Exception:  # blocks that are no bytes: the server has refused them, or will
                once("a response could not be counted", "body.settle")
        end(response)

    def __del__(self) -> None:
        # A server that neither iterates nor closes: the request is over all the same.
        if not self.response.ended:
            try:
                self.close()
            except Exception:
                once("an abandoned response could not be ended", "body.del")


class _Iterators:
    """The iterators that a server has asked for, as one."""

    __slots__ = ("_all",)

    def __init__(self, *all_of_them: Any) -> None:
        self._all = all_of_them

    def __length_hint__(self) -> int:
        """Return how many blocks the one that is farthest has left."""
        return int(min(each.__length_hint__() for each in self._all))
