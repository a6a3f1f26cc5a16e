"""Tells the core which server a process works for, where nobody has attached otelfork to it (see `workers.recruiting`).

What a worker can know without its server's help is which server is there: it is imported.
"""

from __future__ import annotations

import sys

from otelfork import workers
from otelfork.run import runs
from otelfork.servers import celery, gunicorn, uwsgi
from otelfork.workers.recruiting import Scout, enrol

_ASGI_SERVERS = ("granian", "hypercorn", "uvicorn")
"""The most particular first: nobody imports granian to run something else, but uvicorn comes with much."""


def _prepare() -> None:
    uwsgi.attach()
    if "celery" in sys.modules:
        celery.attach()
    if "gunicorn.arbiter" in sys.modules:
        gunicorn.attach(requests=False)


def _begin() -> None:
    if uwsgi.working():
        uwsgi.begin()
    elif "gunicorn.arbiter" in sys.modules and runs.in_gunicorn_worker():
        workers.begin(gunicorn.SERVER)
    else:
        server = next((name for name in _ASGI_SERVERS if name in sys.modules), None)
        if server is not None:
            workers.begin(server, lifespan=True)


enrol(Scout(_prepare, _begin))
