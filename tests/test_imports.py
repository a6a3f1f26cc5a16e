"""`import otelfork`: no optional package, and it works where there is no fork."""

from __future__ import annotations

import pytest
from tests.fresh import run

OPTIONAL = (
    "asgi_lifespan", "billiard", "celery", "click", "django", "fastapi", "flask", "gevent", "granian", "greenlet", "grpc",
    "gunicorn", "httpx", "hypercorn", "opentelemetry.exporter", "opentelemetry.instrumentation", "opentelemetry.proto",
    "prometheus_client", "psutil", "pyroscope", "pytest", "requests", "rich", "starlette", "thrift", "urllib3", "uvicorn",
    "uwsgi", "werkzeug", "yaml",
)  # fmt: skip


def test_importing_imports_no_optional_package():
    """What a program did not ask for costs it nothing and may be missing."""
    # The SDK takes psutil where it is installed: that is its choice, so what it imports is not counted.
    lines = run(
        "import opentelemetry.sdk.metrics, opentelemetry.sdk.trace, opentelemetry.sdk._logs\nbefore = set(sys.modules)\n"
        f"import otelfork\nout(sorted(name for name in {OPTIONAL!r} if name in sys.modules.keys() - before))\nos._exit(0)",
        recording=False,
    )
    assert ["[]"] == lines


def test_it_works_without_the_optional_packages():
    """The one line, a request and a flush, where none of them can be imported."""
    lines = run(
        f"""
        sys.modules.update(dict.fromkeys({OPTIONAL!r}))
        import otelfork
        from wsgiref.util import setup_testing_defaults
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"answered"]
        traced = otelfork.OtelMiddleware(application)
        environ = {{}}
        setup_testing_defaults(environ)
        out(b"".join(traced(environ, lambda status, headers: None)), otelfork.flush(5))
        os._exit(0)
        """,
        recording=False,
        environment={f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")},
    )
    assert "b'answered' True" in lines


def test_importing_starts_and_registers_nothing_but_its_hook():
    """No thread, no signal handler, no global provider."""
    lines = run(
        """
        import threading
        from opentelemetry import trace
        import otelfork
        out(threading.active_count(), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
            isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider))
        os._exit(0)
        """,
        recording=False,
    )
    assert ["1 True True"] == lines


WINDOWS = """
del os.register_at_fork, os.fork, os.forkpty
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGALRM"):
    if hasattr(signal, name): delattr(signal, name)
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
for name in ("posix_fallocate", "getuid", "geteuid", "getpgid", "uname"):
    if hasattr(os, name): delattr(os, name)
"""


def test_it_works_where_there_is_no_fork():
    """Windows has neither os.fork nor at-fork hooks: everything imports, records and flushes."""
    lines = run(
        WINDOWS
        + """
import otelfork
from opentelemetry import metrics, trace
class Spans:
    def export(self, batch, *args, **kwargs):
        for span in batch: out("span", span.name)
    def shutdown(self): pass
otelfork.configure(exporters={"traces": [Spans], "metrics": [], "logs": []})
with trace.get_tracer("t").start_as_current_span("s"): pass
out(otelfork.flush(5), otelfork.shutdown())
os._exit(0)
""",
        recording=False,
    )
    assert ["span s", "True True"] == lines


@pytest.mark.parametrize("door", ["testing", "middleware", "wsgi", "asgi", "settings"])
def test_a_room_can_be_entered_first(door):
    """No module depends on another having been imported before."""
    assert ["in"] == run(f"import otelfork.{door}\nout('in')\nos._exit(0)", recording=False)
