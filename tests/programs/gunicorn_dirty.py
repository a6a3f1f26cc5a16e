"""A dirty application, and a WSGI application that has it do its work; neither imports otelfork."""

import os

from gunicorn.dirty import DirtyApp, get_dirty_client
from opentelemetry import metrics, trace

tracer = trace.get_tracer("dirty")
counter = metrics.get_meter("dirty").create_counter("dirty.work")


class Work(DirtyApp):
    """Records a span and a count of each piece of work."""

    def pid(self):
        """Return the pid of the dirty worker."""
        with tracer.start_as_current_span("dirty work"):
            counter.add(1)
            return os.getpid()


def app(environ, start_response):
    """Answer with the pid of the dirty worker."""
    pid = get_dirty_client().execute("gunicorn_dirty:Work", "pid")
    start_response("200 OK", [("x-pid", str(os.getpid())), ("x-dirty-pid", str(pid))])
    return [str(pid).encode()]
