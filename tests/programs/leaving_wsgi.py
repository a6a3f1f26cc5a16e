"""A WSGI application that tells which requests it began, and that can be held up: by what it waits in, not by us.

`/hold` waits in Python, `/stuck` in C with the interpreter's lock held, `/slow` takes 0.3 s; all else is answered at once. Each
begun request is a line `<traceparent> <pid> <path>` of the file BEGUN, written in one piece.
"""

import ctypes
import os
import time

from opentelemetry import metrics, trace

from otelfork import OtelMiddleware

tracer = trace.get_tracer("app")
counter = metrics.get_meter("app").create_counter("app.work")


def begun(traceparent, path):
    """Note that the application has begun a request."""
    log = os.open(os.environ["BEGUN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, f"{traceparent} {os.getpid()} {path}\n".encode())
    os.close(log)


def stick():
    """Wait in C for a mutex that this thread holds; no signal ends that, and no other thread gets the interpreter's lock."""
    mutex, c = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
    c.pthread_mutex_lock(mutex)
    c.pthread_mutex_lock(mutex)


def answer(environ, start_response):
    """Do a bit of work, wait as asked, and answer with the pid."""
    path = environ["PATH_INFO"]
    begun(environ.get("HTTP_TRACEPARENT", "-"), path)
    with tracer.start_as_current_span("work"):
        counter.add(1)
    if path == "/hold":
        time.sleep(60)
    elif path == "/stuck":
        stick()
    elif path == "/slow":
        time.sleep(0.3)
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"done\n"]


app = OtelMiddleware(answer)
