"""Name lookups of a process that ends: gevent asks a pool of threads for them, and Python 3.12 and later start none any more.

A worker whose first export is its last one would lose all that it has. It knows nothing of telemetry.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def do_without_threads() -> None:
    """Let gevent, if this program's sockets are gevent's, look names up by itself; nobody else is kept waiting at the exit.

    Source: gevent, `gevent.resolver.blocking` and `Hub.resolver`, both documented.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return
    hub: Any = importlib.import_module("gevent").get_hub()
    hub.resolver = importlib.import_module("gevent.resolver.blocking").Resolver(hub)
