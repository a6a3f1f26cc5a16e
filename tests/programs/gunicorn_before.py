"""A program that instruments gunicorn and starts it in its own process."""

import sys

from gunicorn.app.wsgiapp import run

from otelfork import GunicornInstrumentor

if __name__ == "__main__":
    GunicornInstrumentor().instrument()
    sys.exit(run())
