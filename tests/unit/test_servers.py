"""What uvicorn, hypercorn and granian load is wrapped once, and those servers are put back exactly."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from typing import Any

import granian.server.mp
import hypercorn.app_wrappers
import pytest
import uvicorn
import uvicorn.config
from hypercorn.utils import wrap_app

from otelfork import OtelMiddleware
from otelfork.servers import granian as granian_glue
from otelfork.servers import hypercorn as hypercorn_glue
from otelfork.servers import registry
from otelfork.servers import uvicorn as uvicorn_glue
from otelfork.testing import capture

PARTS = (
    (uvicorn.config.Config, "load"),
    (hypercorn.app_wrappers.ASGIWrapper, "__init__"),
    (hypercorn.app_wrappers.WSGIWrapper, "__init__"),
    (granian.server.mp.MPServer, "_spawn_worker"),
)


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Answer."""
    start_response("200 OK", [])
    return [b""]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""


def asgi2(scope: Any) -> Any:
    """Answer as ASGI 2 did."""

    async def instance(receive: Any, send: Any) -> None:
        """Answer."""

    return instance


@pytest.fixture
def attached() -> Iterator[None]:
    """Attach to all servers that this test run has imported."""
    with capture():
        registry.attach(disabled=["gunicorn"])
        yield
        registry.detach()


def held() -> list[Any]:
    """Return what the servers' classes hold themselves."""
    return [vars(owner).get(name) for owner, name in PARTS]


def test_detach_puts_the_servers_back() -> None:
    """After it each class holds what it held before, object for object."""
    before = held()
    registry.attach(disabled=["gunicorn"])
    during = held()
    registry.detach()
    after = held()
    assert (True, True) == (
        all(one is other for one, other in zip(before, after, strict=True)),
        all(one is not other for one, other in zip(before, during, strict=True)),
    )


def test_attaching_twice_wraps_once(attached: None) -> None:
    """A second call does nothing."""
    before = held()
    registry.attach(disabled=["gunicorn"])
    assert all(one is other for one, other in zip(before, held(), strict=True))


def test_a_disabled_server_is_left_alone() -> None:
    """Servers named in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS are not touched, `*` is all of them."""
    before = held()
    registry.attach(disabled=["uvicorn", "hypercorn", "granian", "gunicorn"])
    registry.detach()
    registry.attach(disabled=["*"])
    during = held()
    registry.detach()
    assert all(one is other for one, other in zip(before, during, strict=True))


def loaded(app: Any, **options: Any) -> Any:
    """Return what uvicorn serves for an application."""
    config = uvicorn.Config(app, log_config=None, **options)
    config.load()
    return config.loaded_app


def test_uvicorn_keeps_its_middlewares_outside(attached: None) -> None:
    """The middleware that corrects the client's address stays around ours, as around the one line."""
    outer = loaded(asgi)
    assert ("ProxyHeadersMiddleware", True) == (type(outer).__name__, isinstance(outer.app, OtelMiddleware))


def test_uvicorn_serves_a_bare_application(attached: None) -> None:
    """Without middlewares of uvicorn's own ours is what it serves."""
    assert isinstance(loaded(asgi, proxy_headers=False), OtelMiddleware)


def test_uvicorn_wsgi_is_wrapped_inside_the_adapter(attached: None) -> None:
    """A WSGI application is wrapped itself: its framework knows the route, and the adapter does not."""
    adapter = loaded(wsgi, interface="wsgi", proxy_headers=False)
    assert (False, True) == (isinstance(adapter, OtelMiddleware), isinstance(adapter.app, OtelMiddleware))


def test_uvicorn_asgi2_is_wrapped_outside_the_adapter(attached: None) -> None:
    """uvicorn's adapter calls an ASGI 2 application in its own way."""
    served = loaded(asgi2, interface="asgi2", proxy_headers=False)
    assert ("ASGI2Middleware", True) == (type(served.app).__name__, isinstance(served, OtelMiddleware))


def test_uvicorn_factory_is_wrapped_after_its_call(attached: None) -> None:
    """What the factory makes is the application."""
    served = loaded(lambda: asgi, factory=True, proxy_headers=False)
    assert asgi is served.app


def test_an_application_with_the_one_line_stays_as_it_is(attached: None) -> None:
    """Nothing is put around it."""
    app = OtelMiddleware(asgi)
    assert app is loaded(app, proxy_headers=False)


@pytest.mark.parametrize(("app", "mode"), [(asgi, "asgi"), (wsgi, "wsgi")])
def test_hypercorn_wraps_both_kinds(attached: None, app: Any, mode: Any) -> None:
    """The application in hypercorn's own wrapper is ours, around the user's."""
    wrapper: Any = wrap_app(app, 1000, mode)
    assert (True, app) == (isinstance(wrapper.app, OtelMiddleware), wrapper.app._application)


class Server:
    """What granian's method needs of its server."""

    def __init__(self, interface: str) -> None:
        self.interface = interface


@pytest.mark.parametrize(("interface", "wraps"), [("asgi", True), ("asginl", True), ("rsgi", False)])
def test_granian_loaders_are_wrapped_by_interface(interface: str, wraps: bool) -> None:
    """ASGI with or without lifespan is, RSGI is not."""
    got: list[Any] = []

    def original(server: Any, **arguments: Any) -> None:
        got.append(arguments["callback_loader"]())

    with capture():
        granian_glue._spawn_worker(original, Server(interface), idx=0, target=None, callback_loader=lambda: asgi)
    assert [wraps] == [isinstance(app, OtelMiddleware) for app in got]


def load() -> Any:
    """Load as granian's loader does."""
    return asgi


def test_granian_loader_travels_to_spawned_workers() -> None:
    """It can be pickled, as granian's own."""
    made = pickle.loads(pickle.dumps(granian_glue.Traced(load, "asgi")))
    assert granian_glue.Traced(load, "asgi") == made


def test_a_server_that_is_imported_later_is_attached_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported that the program does not import; when it does, its server is wrapped."""
    attached: list[str] = []
    for glue in (uvicorn_glue, hypercorn_glue, granian_glue):
        monkeypatch.setattr(glue, "attach", lambda name=glue.__name__: attached.append(name))
    for name in registry.SERVERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    registry.attach()
    before = list(attached)
    hook = registry._registry.wanted("uvicorn.config")
    hook(uvicorn.config)
    registry.detach()
    assert ([], [uvicorn_glue.__name__]) == (before, attached)


def test_what_waits_for_a_server_is_called_when_it_is_there() -> None:
    """An instrumentation of a server waits for the program's own import; one that is there is not waited for."""
    called: list[str] = []
    with capture():
        registry.attach(disabled=["gunicorn"])
        registry.when_attached("gunicorn", lambda: called.append("gunicorn"))
        registry.when_attached("uvicorn", lambda: called.append("uvicorn"))
        registry.detach()
    assert ["uvicorn"] == called


def test_a_server_that_cannot_be_attached_to_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails here is logged, and the import goes through."""

    def fail() -> None:
        raise AttributeError("no such class")

    monkeypatch.setattr(uvicorn_glue, "attach", fail)
    registry.attach(disabled=["gunicorn", "hypercorn", "granian"])
    registry.detach()
    assert ["uvicorn could not be attached to; its application runs on untraced"] == [
        record.message for record in caplog.records
    ]
