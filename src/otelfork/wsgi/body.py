"""The body of a WSGI response: what the server gets instead of the application's iterable, and cannot tell from it.

`len()` stays where there was one, the server's own file wrapper is returned as it is (its `sendfile` path depends on its
type or identity), and the application's `close()` is called when the server calls ours, once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, final

from opentelemetry.context import attach, detach

from otelfork.lane.current import Current
from otelfork.request.exchange import Exchange
from otelfork.request.hooks import once
from otelfork.wsgi.response import Response, end


def wrap(result: Any, response: Response, file_wrapper: Any, current: Current) -> Any:
    """Return what the server gets for the application's result, where that is no list or tuple."""
    kind = type(result)
    if kind is bytes:
        # A mistake to most servers; uWSGI sends it whole. Either has to get what the application gave.
        response.sent += len(result)
        end(response)
        return result
    if file_wrapper is not None and _is_file(result, file_wrapper):
        return _watch_file(result, response)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        # Not a response but a sign between application and server (gunicorn's ALREADY_HANDLED): it goes through as it is.
        end(response)
        return result
    return SizedBody(result, response, current) if hasattr(kind, "__len__") else Body(result, response, current)


class Body:
    """An iterable: each step runs in the request's context, which is kept from step to step."""

    __slots__ = ("_closed", "_current", "_exhausted", "_iterator", "_response", "_result", "context")

    def __init__(self, result: Any, response: Response, current: Current) -> None:
        self._result = result
        self._response = response
        self._current = current
        self._closed = False
        self._iterator: Iterator[bytes] | None = None
        self._exhausted = False
        self.context = response.context

    def __iter__(self) -> Iterator[bytes]:
        token = self._current.attach(self.context)
        try:
            iterator: Iterator[bytes] = iter(self._result)
        except BaseException as error:
            self._response.fail(error)
            raise
        finally:
            self._current.detach(token)
        if self._iterator is not None:
            return iterator
        self._iterator = iterator
        return self

    def __next__(self) -> bytes:
        iterator = self._iterator
        if iterator is None:
            iterator = self._iterator = iter(self._result)
        response = self._response
        token = self._current.attach(self.context)
        try:
            block = next(iterator)
        except StopIteration:
            self._exhausted = True
            response.finish()
            raise
        except BaseException as error:
            response.fail(error)
            response.finish()
            raise
        finally:
            # A span that the generator opened around its `yield` is current again in the next step.
            self.context = self._current.get()
            self._current.detach(token)
        try:
            response.sent += len(block)
        except TypeError:  # no bytes: for the server to refuse, in its own words
            once("a block of a response could not be counted", "body.next")
        return block

    def close(self) -> None:
        """Close the application's iterable once, and end the exchange. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._settle()
        response = self._response
        token = self._current.attach(self.context)
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            response.fail(error)
            raise
        finally:
            self._current.detach(token)
            end(response)

    def __del__(self) -> None:
        # A server that neither iterates nor closes: the request is over all the same.
        try:
            if not self._response.ended:
                self._settle()
                self._response.end()
        except Exception:
            once("an abandoned response could not be ended", "body.del")

    def _settle(self) -> None:
        """Stop the clock, and note whether the server stopped before the end."""
        response = self._response
        try:
            if not self._exhausted and response.finished_at is None:
                response.stopped()
        except Exception:
            once("the end of a response could not be told", "body.settle")
        response.finish()


@final
class SizedBody(Body):
    """An iterable with a length: servers make a `Content-Length` of one block, or a list of its lengths."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._result)


@final
class File:
    """Stands in for the `close` of a file wrapper, which itself stays the server's."""

    __slots__ = ("_close", "_exchange")

    def __init__(self, close: Callable[[], object] | None, exchange: Exchange) -> None:
        self._close = close
        self._exchange = exchange

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
            end(self._exchange)

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


def _watch_file(result: Any, response: Response) -> Any:
    try:
        response.sent += _file_size(result, response)
        result.close = File(getattr(result, "close", None), response)
    except Exception:
        # A wrapper written in C has no room for our `close`. Its end cannot be seen; its sendfile is worth more.
        end(response)
    return result


def _file_size(result: Any, response: Response) -> int:
    announced = response.length()
    if announced is not None:
        return announced
    source = getattr(result, "filelike", None) or getattr(result, "file", None) or result
    try:
        position: int = source.tell()
        return max(0, os.fstat(source.fileno()).st_size - position)
    except (AttributeError, OSError, ValueError):
        return 0
