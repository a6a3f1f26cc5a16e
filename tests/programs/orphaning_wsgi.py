"""A WSGI application whose worker starts a long-lived multiprocessing child, as a queue or a manager does."""

import multiprocessing
import os
import time

from otelfork import OtelMiddleware


def answer(environ, start_response):
    """Start the child on `/`, and answer with the pid."""
    if environ["PATH_INFO"] == "/":
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"done\n"]


app = OtelMiddleware(answer)
