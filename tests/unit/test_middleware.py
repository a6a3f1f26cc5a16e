"""`app = OtelMiddleware(app)`: told apart at construction, and looking to servers like what it wraps."""

from __future__ import annotations

import asyncio
import functools
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from asgiref.testing import ApplicationCommunicator
from tests.fresh import run

from otelfork import OtelMiddleware
from otelfork.asgi import ASGIMiddleware
from otelfork.settings import SettingsError
from otelfork.wsgi import WSGIMiddleware


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answered"]


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})


def plain_asgi(scope, receive, send):
    """An ASGI 3 application that is no coroutine function: it returns the awaitable."""
    return asgi(scope, receive, send)


def asgi2(scope):
    """An ASGI 2 application."""

    async def instance(receive, send):
        await asgi(scope, receive, send)

    return instance


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def prefixed(prefix, environ, start_response):
    return wsgi(environ, start_response)


async def prefixed_asgi(prefix, scope, receive, send):
    await asgi(scope, receive, send)


class WSGIClass:
    """The application is the class: each call makes the iterable of one response."""

    def __init__(self, environ, start_response):
        start_response("200 OK", [])

    def __iter__(self):
        return iter([b"answered"])


class ASGI2Class:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await asgi(self.scope, receive, send)


class WSGIObject:
    def __call__(self, environ, start_response):
        return wsgi(environ, start_response)

    def method(self, environ, start_response):
        return wsgi(environ, start_response)


class ASGIObject:
    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)

    async def method(self, scope, receive, send):
        await asgi(scope, receive, send)


def flask_application():
    from flask import Flask

    application = Flask(__name__)
    application.add_url_rule("/", view_func=lambda: "answered")
    return application


def starlette_application(**arguments: Any):
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    return Starlette(routes=[Route("/", lambda request: PlainTextResponse("answered"))], **arguments)


def fastapi_application():
    from fastapi import FastAPI

    application = FastAPI()
    application.get("/")(lambda: "answered")
    return application


WSGI = {
    "function": lambda: wsgi,
    "decorated": lambda: decorated(wsgi),
    "partial": lambda: functools.partial(prefixed, "p"),
    "lambda": lambda: lambda environ, start_response: wsgi(environ, start_response),
    "class": lambda: WSGIClass,
    "object": WSGIObject,
    "bound method": lambda: WSGIObject().method,
    "optional parameter": lambda: lambda environ, start_response=None, extra=1: wsgi(environ, start_response),
    "Flask": flask_application,
}
ASGI = {
    "coroutine function": lambda: asgi,
    "plain function": lambda: plain_asgi,
    "decorated": lambda: functools.wraps(asgi)(plain_asgi),
    "partial": lambda: functools.partial(prefixed_asgi, "p"),
    "object": ASGIObject,
    "bound method": lambda: ASGIObject().method,
    "ASGI 2 function": lambda: asgi2,
    "ASGI 2 class": lambda: ASGI2Class,
    "Starlette": starlette_application,
    "FastAPI": fastapi_application,
}


def ask_wsgi(application):
    """Send one request and return the body."""
    environ: dict = {}
    setup_testing_defaults(environ)
    result = application(environ, lambda status, headers, exc_info=None: lambda data: None)
    body = b"".join(result)
    if hasattr(result, "close"):
        result.close()
    return body


def ask_asgi(application):
    """Send one request and return the body."""

    async def ask():
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"testserver")],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        talk = ApplicationCommunicator(application, scope)
        await talk.send_input({"type": "http.request", "body": b"", "more_body": False})
        await talk.receive_output(10)
        body = b""
        while True:
            message = await talk.receive_output(10)
            body += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await talk.wait(10)
                return body

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", WSGI)
def test_a_wsgi_application_is_known_and_answers_as_ever(captured, kind):
    """One SERVER span around each request."""
    application = OtelMiddleware(WSGI[kind]())
    body = ask_wsgi(application)
    assert (True, b"answered", ["SERVER"]) == (
        isinstance(application, WSGIMiddleware),
        body,
        [span.kind.name for span in captured.spans],
    )


@pytest.mark.parametrize("kind", ASGI)
def test_an_asgi_application_is_known_and_answers_as_ever(captured, kind):
    """ASGI 2 goes through asgiref's adapter."""
    application = OtelMiddleware(ASGI[kind]())
    body = ask_asgi(application)
    assert (True, True, ["SERVER"]) == (
        isinstance(application, ASGIMiddleware),
        b"answered" in body,
        [span.kind.name for span in captured.spans],
    )


def test_django_over_both_interfaces():
    """`get_wsgi_application` and `get_asgi_application`, as Django's templates write them; it is configured once a process."""
    lines = run("""
        import asyncio
        from wsgiref.util import setup_testing_defaults
        from asgiref.testing import ApplicationCommunicator
        from django.conf import settings
        urls = type(sys)("urls")
        sys.modules["urls"] = urls
        settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="only for tests")
        from django.core.asgi import get_asgi_application
        from django.core.wsgi import get_wsgi_application
        from django.http import HttpResponse
        from django.urls import path
        urls.urlpatterns = [path("", lambda request: HttpResponse("answered"))]
        from hypercorn.utils import is_asgi
        import uvicorn
        configure(exporters={"traces": [Spans], "metrics": [], "logs": []})
        wsgi, asgi = otelfork.OtelMiddleware(get_wsgi_application()), otelfork.OtelMiddleware(get_asgi_application())
        config = uvicorn.Config(asgi, lifespan="off", log_config=None)
        config.load()
        out(config.interface, is_asgi(asgi), is_asgi(wsgi))
        environ = {}
        setup_testing_defaults(environ)
        response = wsgi(environ, lambda status, headers, exc_info=None: None)
        out(b"".join(response))
        response.close()
        async def ask():
            scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/", "raw_path": b"/",
                     "query_string": b"", "headers": [(b"host", b"testserver")], "server": ("testserver", 80)}
            talk = ApplicationCommunicator(asgi, scope)
            await talk.send_input({"type": "http.request", "body": b"", "more_body": False})
            await talk.receive_output(10)
            out((await talk.receive_output(10))["body"])
            await talk.wait(10)
        asyncio.run(ask())
        otelfork.flush(5)
        os._exit(0)
    """)
    assert ["asgi3 True False", "b'answered'", "b'answered'", "span GET / parent", "span GET / parent"] == sorted(lines)


@pytest.mark.parametrize(
    "unclear",
    [lambda *args: None, lambda: None, lambda a, b, c, d: None, print],
    ids=["*args", "no parameter", "four parameters", "built-in"],
)
def test_an_unclear_application_is_an_error_that_names_the_argument(unclear):
    """At construction, with what to write."""
    with pytest.raises(TypeError, match='interface="wsgi"'):
        OtelMiddleware(unclear)


@pytest.mark.parametrize(("interface", "kind"), [("wsgi", WSGIMiddleware), ("asgi", ASGIMiddleware)])
def test_the_argument_decides_where_it_is_given(interface, kind):
    """Also against what it looks like."""
    assert isinstance(OtelMiddleware(lambda *args: None, interface=interface), kind)


def test_an_unknown_interface_is_refused():
    """There are two."""
    with pytest.raises(SettingsError, match="wsgi or asgi"):
        OtelMiddleware(wsgi, interface="rsgi")


def test_an_unknown_option_is_refused():
    """A misspelt option is no silent default."""
    with pytest.raises(TypeError):
        OtelMiddleware(wsgi, exclude_url="health")


def test_unknown_attributes_are_the_applications():
    """`app.route`, `app.config`: code that meant the application finds it; what neither has is an AttributeError."""
    application = flask_application()
    wrapped = OtelMiddleware(application)
    assert (application.config, False, False) == (
        wrapped.config,
        hasattr(wrapped, "nonesuch"),
        hasattr(wrapped, "__wrapped__"),
    )


def test_an_object_that_is_not_yet_initialised_has_no_attributes():
    """Who asks for one before there is an application (unpickling does) gets an answer and no recursion."""
    bare = object.__new__(type(OtelMiddleware(wsgi)))
    assert not hasattr(bare, "config")


def test_flask_by_its_wsgi_app(captured):
    """`app.wsgi_app = OtelMiddleware(app.wsgi_app)`: Flask's own idiom."""
    application = flask_application()
    application.wsgi_app = OtelMiddleware(application.wsgi_app)
    assert (b"answered", 1) == (application.test_client().get("/").data, len(captured.spans))


def test_starlette_by_add_middleware(captured):
    """`app.add_middleware(OtelMiddleware)`: Starlette's own idiom."""
    application = starlette_application()
    application.add_middleware(OtelMiddleware)
    assert (b"answered", 1) == (ask_asgi(application), len(captured.spans))


@pytest.mark.parametrize("kind", ASGI)
def test_uvicorn_takes_the_object_for_asgi_3(kind):
    """Its own detection looks at `__call__`."""
    import uvicorn

    config = uvicorn.Config(OtelMiddleware(ASGI[kind]()), lifespan="off", log_config=None)
    config.load()
    assert "asgi3" == config.interface


@pytest.mark.parametrize(("applications", "kind"), [(WSGI, "wsgi"), (ASGI, "asgi")], ids=["wsgi", "asgi"])
def test_hypercorn_takes_the_object_for_what_it_wraps(applications, kind):
    """Its own detection looks at the callable."""
    from hypercorn.app_wrappers import ASGIWrapper, WSGIWrapper
    from hypercorn.utils import wrap_app

    wanted = WSGIWrapper if kind == "wsgi" else ASGIWrapper
    found = {type(wrap_app(OtelMiddleware(make()), 0, None)) for make in applications.values()}
    assert {wanted} == found


def test_asgiref_takes_the_object_for_asgi_3():
    """Daphne and Channels ask `is_double_callable`."""
    from asgiref.compatibility import is_double_callable

    assert [False] * len(ASGI) == [is_double_callable(OtelMiddleware(make())) for make in ASGI.values()]
