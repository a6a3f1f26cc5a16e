"""What stands behind middlewares is found, whatever they hold it by; nothing is called or asked for it."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from otelfork.request.nesting import applications


class Application:
    """What is looked for."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        """Answer."""
        return []


APPLICATION = Application()


class Holding:
    """A middleware that keeps its application in a field."""

    def __init__(self, app: Any) -> None:
        self.whatever = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Pass on."""
        return self.whatever(environ, start_response)

    def serve(self, environ: Any, start_response: Any) -> Any:
        """Pass on."""
        return self(environ, start_response)

    @property
    def dangerous(self) -> Any:
        """Fail whoever asks."""
        raise SystemExit


class Slotted:
    """The same with slots."""

    __slots__ = ("app", "empty")

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Pass on."""
        return self.app(environ, start_response)


def closure(app: Any) -> Any:
    """Return a function around an application."""

    def middleware(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return middleware


def of_the_module(environ: Any, start_response: Any) -> Any:
    """Pass on to a global name."""
    return APPLICATION(environ, start_response)


def passing(app: Any, environ: Any, start_response: Any) -> Any:
    """Pass on."""
    return app(environ, start_response)


WAYS = {
    "itself": APPLICATION,
    "field": Holding(APPLICATION),
    "slot": Slotted(APPLICATION),
    "closure": closure(APPLICATION),
    "global": of_the_module,
    "partial": functools.partial(passing, APPLICATION),
    "method": Holding(APPLICATION).serve,
    "mount": Holding({"/": closure(None), "/api": APPLICATION}),
    "list": Holding([closure(None), APPLICATION]),
    "all": closure(Holding([Slotted(functools.partial(passing, closure(APPLICATION)))])),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_application_is_found_behind_its_middlewares(way: str) -> None:
    """Fields, slots, closures, globals, partials, methods and tables of mounts lead to it."""
    assert any(each is APPLICATION for each in applications(WAYS[way]))


def test_middlewares_that_hold_each_other_are_left_in_the_end() -> None:
    """A circle is walked once."""
    first, second = Holding(None), Holding(None)
    first.whatever, second.whatever = second, first
    assert [first, second] == list(applications(first))


def test_a_stand_in_for_what_is_not_there_holds_nothing() -> None:
    """werkzeug's proxies raise outside of a request: that is theirs alone."""
    from werkzeug.local import LocalProxy

    def missing() -> Any:
        raise RuntimeError("outside of a request")

    proxy = LocalProxy(missing)
    assert any(each is APPLICATION for each in applications(Holding([proxy, APPLICATION])))


def test_the_look_has_an_end() -> None:
    """An application that holds thousands of callables costs no more than some hundreds."""
    functions = [closure(number) for number in range(10_000)]
    assert len(list(applications(Holding(functions)))) <= 256
