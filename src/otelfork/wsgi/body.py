"""The body of a WSGI response: what the server gets instead of the application's iterable, and cannot tell from it.

`len()` stays where there was one, the server's own file wrapper is returned as it is (its `sendfile` path depends on its
type or identity), and the application's `close()` is called when the server calls ours, once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol, final

from opentelemetry.context import attach, detach, get_current

from otelfork.request.exchange import DISCONNECT, Exchange
from otelfork.request.hooks import once


class Answer(Protocol):
    """What a body asks of the response it belongs to."""

    exchange: Exchange

    def length(self) -> int | None:
        """Return the announced length in bytes."""


End = Callable[[Exchange], None]


def wrap(result: Any, response: Answer, file_wrapper: Any, end: End) -> Any:
    """Return what the server gets for the application's result."""
    kind = type(result)
    if kind is list or kind is tuple:
        return Blocks(result, response, end)
    if kind is bytes:
        # A mistake to most servers; uWSGI sends it whole. Either has to get what the application gave.
        response.exchange.sent += len(result)
        end(response.exchange)
        return result
    if file_wrapper is not None and _is_file(result, file_wrapper):
        return _watch_file(result, response, end)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        # Not a response but a sign between application and server (gunicorn's ALREADY_HANDLED): it goes through as it is.
        end(response.exchange)
        return result
    return SizedBody(result, response, end) if hasattr(kind, "__len__") else Body(result, response, end)


class _Closing:
    """What all bodies share: the application's `close` once, then the end of the exchange."""

    __slots__ = ("_closed", "_end", "_response", "_result", "context")

    def __init__(self, result: Any, response: Answer, end: End) -> None:
        self._result = result
        self._response = response
        self._end = end
        self._closed = False
        self.context = response.exchange.context

    def close(self) -> None:
        """Close the application's iterable and end the exchange. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        exchange = self._response.exchange
        try:
            self._settle()
        except Exception:  # blocks that are no bytes: the server has refused them, or will
            once("a response could not be counted", "body.settle")
        token = attach(self.context)
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            exchange.fail(error)
            raise
        finally:
            detach(token)
            self._end(exchange)

    def __del__(self) -> None:
        # A server that neither iterates nor closes: the request is over all the same.
        try:
            exchange = self._response.exchange
            if not exchange.ended:
                self._settle()
                exchange.end()
        except Exception:
            once("an abandoned response could not be ended", "body.del")

    def _settle(self) -> None:
        """Count what is not counted yet, and note whether the server stopped before the end."""


@final
class Blocks(_Closing):
    """A list or tuple of blocks: no code of the application runs between them, so the server iterates over the real one."""

    __slots__ = ("_iterators",)

    def __init__(self, result: Any, response: Answer, end: End) -> None:
        super().__init__(result, response, end)
        self._iterators: list[Any] = []

    def __len__(self) -> int:
        return len(self._result)

    def __iter__(self) -> Iterator[bytes]:
        # Servers may ask more than once (gevent adds up the lengths first), so each gets an iterator of its own.
        iterator: Iterator[bytes] = iter(self._result)
        self._iterators.append(iterator)
        return iterator

    def _settle(self) -> None:
        if self._response.exchange.finished_at is not None:
            return
        self._response.exchange.finish()
        result = self._result
        left = min((iterator.__length_hint__() for iterator in self._iterators), default=len(result))
        passed = result[: len(result) - left] if left else result
        self._response.exchange.sent += sum(map(len, passed))
        if left:
            _stopped(self._response)


class Body(_Closing):
    """Any other iterable: each step runs in the request's context, which is kept from step to step."""

    __slots__ = ("_exhausted", "_iterator")

    def __init__(self, result: Any, response: Answer, end: End) -> None:
        super().__init__(result, response, end)
        self._iterator: Iterator[bytes] | None = None
        self._exhausted = False

    def __iter__(self) -> Iterator[bytes]:
        token = attach(self.context)
        try:
            iterator: Iterator[bytes] = iter(self._result)
        except BaseException as error:
            self._response.exchange.fail(error)
            raise
        finally:
            detach(token)
        if self._iterator is not None:
            return iterator
        self._iterator = iterator
        return self

    def __next__(self) -> bytes:
        iterator = self._iterator
        if iterator is None:
            iterator = self._iterator = iter(self._result)
        exchange = self._response.exchange
        token = attach(self.context)
        try:
            block = next(iterator)
        except StopIteration:
            self._exhausted = True
            exchange.finish()
            raise
        except BaseException as error:
            exchange.fail(error)
            exchange.finish()
            raise
        finally:
            # A span that the generator opened around its `yield` is current again in the next step.
            self.context = get_current()
            detach(token)
        try:
            exchange.sent += len(block)
        except TypeError:  # no bytes: for the server to refuse, in its own words
            once("a block of a response could not be counted", "body.next")
        return block

    def _settle(self) -> None:
        exchange = self._response.exchange
        if not self._exhausted and exchange.finished_at is None:
            _stopped(self._response)
        exchange.finish()


@final
class SizedBody(Body):
    """An iterable with a length: servers make a `Content-Length` of one block, or a list of its lengths."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._result)


@final
class File:
    """Stands in for the `close` of a file wrapper, which itself stays the server's."""

    __slots__ = ("_close", "_end", "_exchange")

    def __init__(self, close: Callable[[], object] | None, exchange: Exchange, end: End) -> None:
        self._close = close
        self._exchange = exchange
        self._end = end

    def __call__(self) -> None:
        """Close the file and end the exchange. The application's own `close` is called once."""
        close, self._close = self._close, None
        if self._exchange.ended and close is None:
            return
        self._exchange.finish()
        token = attach(self._exchange.context)
        try:
            if close is not None:
                close()
        except BaseException as error:
            self._exchange.fail(error)
            raise
        finally:
            detach(token)
            self._end(self._exchange)

    def __del__(self) -> None:
        try:
            self._exchange.end()
        except Exception:
            once("an abandoned file could not be ended", "file.del")


def _is_file(result: Any, file_wrapper: Any) -> bool:
    if isinstance(file_wrapper, type):
        return isinstance(result, file_wrapper)
    # uWSGI's wrapper is a function that notes the file and returns it: what comes back has to be that very object.
    return hasattr(result, "read")


def _watch_file(result: Any, response: Answer, end: End) -> Any:
    exchange = response.exchange
    try:
        exchange.sent += _file_size(result, response)
        result.close = File(getattr(result, "close", None), exchange, end)
    except Exception:
        # A wrapper written in C has no room for our `close`. Its end cannot be seen; its sendfile is worth more.
        end(exchange)
    return result


def _file_size(result: Any, response: Answer) -> int:
    announced = response.length()
    if announced is not None:
        return announced
    source = getattr(result, "filelike", None) or getattr(result, "file", None) or result
    try:
        position: int = source.tell()
        return max(0, os.fstat(source.fileno()).st_size - position)
    except (AttributeError, OSError, ValueError):
        return 0


def _stopped(response: Answer) -> None:
    """Note a client that left early, unless the server had no reason to take more."""
    exchange = response.exchange
    if exchange.bodiless():
        return
    announced = response.length()
    if announced is None or exchange.sent < announced:
        exchange.cut(DISCONNECT)
