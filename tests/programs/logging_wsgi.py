"""A WSGI application that logs a line for each request, and sets up logging after our one line, by LOGGING.

`/boom` raises, so that the server logs an exception.
"""

import logging
import logging.config
import logging.handlers
import os
from pathlib import Path

from otelfork import OtelMiddleware

logger = logging.getLogger("shop")


def answer(environ, start_response):
    """Log a line and answer with the pid, or fail."""
    if environ["PATH_INFO"] == "/boom":
        raise ValueError("boom")
    logger.info("served %s", environ["PATH_INFO"], extra={"shelf": 7})
    start_response("200 OK", [("content-type", "text/plain"), ("x-pid", str(os.getpid()))])
    return [b"done\n"]


app = OtelMiddleware(answer)

WAYS = {
    "basicConfig": lambda: logging.basicConfig(level=logging.INFO),
    "force": lambda: logging.basicConfig(level=logging.INFO, force=True),
    "dictConfig": lambda: logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"out": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["out"], "level": "INFO"},
        }
    ),
    "fileConfig": lambda: logging.config.fileConfig(
        Path(__file__).with_name("logging.ini"), disable_existing_loggers=False
    ),
    # Handlers that hold records until logging.shutdown(), which a forked child inherits with the handlers.
    "memory": lambda: logging.basicConfig(
        level=logging.INFO, handlers=[logging.handlers.MemoryHandler(10_000, target=logging.StreamHandler())]
    ),
}
WAYS[os.environ.get("LOGGING", "basicConfig")]()
logger.info("imported")
