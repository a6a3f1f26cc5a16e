"""An HTTP session whose sockets a forked child can let go of.

It notes the number of each socket, so that a child closes its inherited copy without touching the connection (an orphan would
keep the collector's connection open, and two processes on one socket mix their requests). It needs `requests`.
"""

from __future__ import annotations

# requests imports it with the first request; a child forked at that moment would wait for ever for its import lock.
import netrc  # noqa: F401
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.connection

from otelfork import forks


class _Noted:
    """A connection that tells `forks` about its socket. Source: urllib3 documentation, `HTTPConnectionPool.ConnectionCls`."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        forks.own(self.sock.fileno())

    def close(self) -> None:
        if self.sock is not None:
            forks.disown(self.sock.fileno())
        super().close()  # type: ignore[misc]


class _Connection(_Noted, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_Noted, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def new_session() -> requests.Session:
    """Make a session; it opens no connection yet."""
    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made
