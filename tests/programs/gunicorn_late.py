"""An application that instruments gunicorn in its second request, in each worker, and takes it off again at /off."""

import gunicorn_plain

from otelfork import GunicornInstrumentor

served = 0


def app(environ, start_response):
    """Answer as the plain application does."""
    global served
    served += 1
    if served == 2:
        GunicornInstrumentor().instrument()
    if environ["PATH_INFO"] == "/off":
        GunicornInstrumentor().uninstrument()
    return gunicorn_plain.app(environ, start_response)
