"""`GunicornInstrumentor`: it instruments, or says why not; and it leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from otelfork import bootstrap
from otelfork.request import naming
from otelfork.servers import gunicorn
from otelfork.settings import SettingsError

pytest.importorskip("gunicorn")
pytest.importorskip("opentelemetry.instrumentation.instrumentor")
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker
from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor

from otelfork.servers.gunicorn_instrumentor import InstrumentationError


@pytest.fixture
def instrumentor():
    """An instrumentor that is off at the end."""
    made = GunicornInstrumentor()
    yield made
    made.uninstrument()


def contents():
    """Return what gunicorn's classes hold, in their order."""
    return [list(vars(each).items()) for each in (Worker, Arbiter)]


def test_both_doors_lead_to_the_same_class():
    """`otelfork.GunicornInstrumentor` is the instrumentor of the documented path."""
    import otelfork

    assert GunicornInstrumentor is otelfork.GunicornInstrumentor


def test_without_the_package_the_error_names_the_extra():
    """An ImportError that says what to install."""
    code = "import sys; sys.modules['opentelemetry.instrumentation.instrumentor'] = None\nfrom otelfork import GunicornInstrumentor"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'otelfork[gunicorn]'" in answer.stderr


def test_an_unknown_name_is_an_attribute_error():
    """The lazy name is the only one."""
    import otelfork

    assert not hasattr(otelfork, "UnicornInstrumentor")


def test_uninstrument_restores_every_class(instrumentor):
    """Afterwards the classes hold the same objects in the same order."""
    before = contents()
    instrumentor.instrument()
    instrumentor.uninstrument()
    assert before == contents()


def test_a_second_instrument_is_nothing(instrumentor, caplog):
    """It changes nothing and complains about nothing."""
    instrumentor.instrument()
    once = contents()
    GunicornInstrumentor().instrument()
    assert (once, []) == (contents(), caplog.messages)


def test_uninstrument_without_instrument_is_nothing(instrumentor, caplog):
    """Cleaning up twice is no fault."""
    instrumentor.uninstrument()
    assert [] == caplog.messages


def test_it_can_be_instrumented_again(instrumentor):
    """After uninstrument, instrument works as the first time."""
    instrumentor.instrument()
    instrumentor.uninstrument()
    instrumentor.instrument()
    assert bool(gunicorn._here.seams)


def refused(instrumentor, error):
    """Try to instrument; return the error, and whether gunicorn was left alone."""
    before = contents()
    with pytest.raises(error) as raised:
        instrumentor.instrument()
    return str(raised.value), before == contents() and not instrumentor.is_instrumented_by_opentelemetry


@pytest.mark.parametrize("requirement", ["gunicorn >= 99", "no-such-gunicorn"])
def test_a_dependency_conflict_is_raised(instrumentor, monkeypatch, requirement):
    """Where BaseInstrumentor would log one line and go on."""
    monkeypatch.setattr(GunicornInstrumentor, "instrumentation_dependencies", lambda self: [requirement])
    message, untouched = refused(instrumentor, DependencyConflictError)
    assert (True, True) == (requirement in message, untouched)


def test_a_bad_setting_is_raised(instrumentor, monkeypatch):
    """The error names the variable, as `configure()`'s does."""
    monkeypatch.setattr(bootstrap._bootstrap, "telemetry", None)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    message, untouched = refused(instrumentor, SettingsError)
    assert (True, True) == ("carrier-pigeon" in message, untouched)


def test_a_bad_span_name_is_raised(instrumentor, monkeypatch):
    """Before anything is wrapped."""
    monkeypatch.setenv("OTELFORK_GUNICORN_SPAN_NAME", "path")
    message, untouched = refused(instrumentor, SettingsError)
    assert (True, True) == ("OTELFORK_GUNICORN_SPAN_NAME" in message, untouched)


def test_an_unknown_argument_is_a_type_error(instrumentor):
    """A misspelt argument is not swallowed."""
    with pytest.raises(TypeError, match="tracer_providr"):
        instrumentor.instrument(tracer_providr=None)


def test_the_old_package_is_named_for_removal(instrumentor, monkeypatch, tmp_path):
    """Where it is installed, both would instrument: the error says what to remove."""
    folder = tmp_path / "opentelemetry_instrumentation_gunicorn-0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: opentelemetry-instrumentation-gunicorn\nVersion: 0.1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    message, untouched = refused(instrumentor, InstrumentationError)
    assert (True, True) == ("pip uninstall opentelemetry-instrumentation-gunicorn" in message, untouched)


def test_a_module_in_our_place_is_named(tmp_path):
    """Another package's module at the documented path is told by its file; our own class still says so."""
    place = tmp_path / "opentelemetry/instrumentation/gunicorn"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("class GunicornInstrumentor:\n    pass\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from otelfork import GunicornInstrumentor\nGunicornInstrumentor().instrument()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = answer.stderr.strip().splitlines()[-1]
    assert (True, True) == (str(place) in last, "pip uninstall opentelemetry-instrumentation-gunicorn" in last)


def test_the_names_are_for_workers_only(instrumentor):
    """A process that is no worker of gunicorn names its requests by the conventions."""
    instrumentor.instrument()
    assert naming.current is None
