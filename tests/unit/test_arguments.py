"""Mistakes in code are told where they are made, in one line that names them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fresh import outcome

import otelfork
from otelfork import OtelMiddleware, SettingsError
from otelfork.build import arguments


@pytest.mark.parametrize(
    "given",
    [
        {"sampler": 0.5},
        {"resource": "a=b"},
        {"id_generator": 3},
        {"service_name": 3},
        {"span_processors": [3]},
        {"log_record_processors": ["otlp"]},
        {"metric_readers": [3]},
        {"exporters": "otlp"},
        {"exporters": {"trace": []}},
        {"exporters": {"traces": ["otlp"]}},
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(given: dict[str, Any]) -> None:
    """`configure` raises SettingsError before anything is installed."""
    with pytest.raises(SettingsError) as caught:
        arguments.check(**given)
    assert f"configure({next(iter(given))}=...)" == caught.value.name


def test_providers_are_a_function() -> None:
    """Anything else is refused by `configure` itself."""
    with pytest.raises(SettingsError, match=r"configure\(providers=...\)=3 is not valid"):
        otelfork.configure(providers=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("application", [None, 3, "app:app"])
def test_what_is_no_application_is_named(application: object) -> None:
    """No advice about an interface for what cannot be called."""
    with pytest.raises(TypeError, match="wraps a WSGI or ASGI application, not "):
        OtelMiddleware(application)


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    """By the name of the class that was called."""
    with pytest.raises(TypeError, match=r"OtelMiddleware has no option 'excluded_url': is excluded_urls meant\?"):
        OtelMiddleware(lambda environ, start_response: [], excluded_url="x")


PROPAGATORS = """
from otelfork import OtelMiddleware, SettingsError, configure
from otelfork.wsgi import WSGIMiddleware
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
out(b"".join(OtelMiddleware(app)({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http"}, lambda *_: None)).decode())
try:
    configure()
except SettingsError as error:
    out(error.name, os.environ["OTEL_PROPAGATORS"])
"""


def test_an_unknown_propagator_does_not_end_the_application() -> None:
    """The API raises while it is imported; the application answers, one line names the variable, and it stays as it was."""
    _, lines, errors = outcome(PROPAGATORS, recording=False, environment={"OTEL_PROPAGATORS": "b4"})
    told = [line for line in errors.splitlines() if line.startswith("OTEL_PROPAGATORS='b4' is not valid")]
    assert (["served", "OTEL_PROPAGATORS b4"], 1, False) == (lines, len(told), "Traceback" in errors)
