"""An HTTP session whose sockets a forked child can let go of, and that tries once where somebody else tries again.

It notes the number of each socket, so that a child closes its inherited copy without touching the connection (an orphan would
keep the collector's connection open, and two processes on one socket mix their requests). It needs `requests`.

The standard exporters try again within one export, up to their timeout, and lose the batch after it; meanwhile no other signal
leaves. While a stream watches (see `outcome`), the session tells it what was answered, and ends that at the first answer: a
passing status asks for a pause longer than any timeout, a broken connection is not the kind of error that is tried again.
"""

from __future__ import annotations

# requests imports it with the first request; a child forked at that moment would wait for ever for its import lock.
import contextlib
import netrc  # noqa: F401
import re
import socket
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.connection
from requests.utils import get_netrc_auth

from otelfork import forks
from otelfork.delivery.outcome import PASSING_STATUS, Outcome, watched
from otelfork.exporters.answers import note_body, note_retry_after

_LONGEST_SECONDS = 10.0
_LONGEST_REASON = 200
_NEVER = "1000000"
"""Seconds: longer than any timeout."""


_PASSING = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class Undelivered(Exception):  # noqa: N818 - it says what happened, as requests' own do
    """A request that met no answer; the message is that of the error below it."""


class _Noted:
    """A connection that tells `forks` about its socket. Source: urllib3 documentation, `HTTPConnectionPool.ConnectionCls`."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        forks.own(self.sock.fileno(), _holder(self.sock))

    def request(self, *args: Any, **kwargs: Any) -> None:
        result = watched()
        if result is not None:
            result.cancel = self._break_off
        super().request(*args, **kwargs)  # type: ignore[misc]

    def _break_off(self) -> None:
        """End a request that hangs, from another thread: whoever reads or writes meets the end of the connection."""
        holder = _holder(self.sock)
        if holder is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                # Not an SSLSocket's own method: that would take the TLS state away from the thread that reads.
                socket.socket.shutdown(holder, socket.SHUT_RDWR)

    def close(self) -> None:
        if self.sock is not None:
            forks.disown(self.sock.fileno())
        super().close()  # type: ignore[misc]


def _holder(sock: Any) -> socket.socket | None:
    """Return the object that holds the descriptor: urllib3's TLS within TLS is none, but has one."""
    inner = getattr(sock, "socket", sock)
    return inner if isinstance(inner, socket.socket) else None


class _Connection(_Noted, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_Noted, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """An adapter for one address: its pool of connections is looked for once."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """See `requests.adapters.HTTPAdapter.get_connection_with_tls_context`."""
        given = (request.url, verify, dict(proxies or {}), cert)
        kept = self.__dict__.get("_found")
        if kept is None or kept[0] != given or kept[1].pool is None:  # closed meanwhile
            found = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            kept = self.__dict__["_found"] = given, found
        return kept[1]


class _Session(requests.Session):
    """A session for one address: what the environment says of proxies, certificates and the like is read once, and not 100 times
    a minute from 50 variables each.
    """

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """See `requests.Session.merge_environment_settings`."""
        if proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        given = (url, stream, verify, cert)
        kept = self.__dict__.get("_environment")
        if kept is None or kept[0] != given:
            kept = (given, super().merge_environment_settings(url, proxies, stream, verify, cert))
            self.__dict__["_environment"] = kept
        return dict(kept[1])

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """See `requests.Session.prepare_request`. One that differs from the last in its body alone is that one with this body."""
        body: Any = request.data
        if type(body) is not bytes or not body or not self._plain(request):
            return super().prepare_request(request)
        given = (request.method, request.url, dict(request.headers), list(self.headers.items()))
        kept = self.__dict__.get("_prepared")
        if kept is None or kept[0] != given:
            made = super().prepare_request(request)
            if self.trust_env and get_netrc_auth(request.url):  # these credentials may change
                return made
            kept = self.__dict__["_prepared"] = given, made.copy()
            kept[1].body = None
        made = kept[1].copy()
        made.body = body
        made.headers["Content-Length"] = str(len(body))
        return made

    def _plain(self, request: requests.Request) -> bool:
        """Tell whether a request is a method, an address, headers and a body, to which the session adds headers at most."""
        own = request.files, request.json, request.params, request.auth, request.cookies, *request.hooks.values()
        return not (any(own) or self.auth or self.params or len(self.cookies) or any(self.hooks.values()))

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        if isinstance(self.verify, str):
            # requests lets REQUESTS_CA_BUNDLE win over a session's own file, and OTEL_EXPORTER_OTLP_CERTIFICATE would not count.
            kwargs.setdefault("verify", self.verify)
        result = watched()
        if result is None:
            return _explained(super().request(method, url, *args, **kwargs))
        timeout = kwargs.pop("timeout", None) or _LONGEST_SECONDS
        try:
            answer = self._once_more(result, timeout, method, url, *args, **kwargs)
        except requests.RequestException as error:
            result.passing = isinstance(error, _PASSING)  # and not an address that is none, for one
            raise Undelivered(str(error)) from error
        _note(result, answer)
        return _explained(answer)

    def _once_more(self, result: Outcome, timeout: float, *args: Any, **kwargs: Any) -> requests.Response:
        """Send; a connection that the collector has closed meanwhile is replaced at once, as by the standard exporters."""
        try:
            return super().request(*args, **{**kwargs, "timeout": result.left(timeout)})
        except (requests.Timeout, requests.exceptions.SSLError):
            raise
        except requests.ConnectionError:
            if result.interrupted:
                raise
            return super().request(*args, **{**kwargs, "timeout": result.left(timeout)})


def _note(result: Outcome, answer: requests.Response) -> None:
    """Tell what the collector answered."""
    result.passing = answer.status_code in PASSING_STATUS
    if result.passing:
        result.why = f"the collector answers {answer.status_code} {answer.reason}"
        note_retry_after(result, answer.headers.get("Retry-After"))
        answer.headers["Retry-After"] = _NEVER
    elif answer.ok and answer.content:
        note_body(result, answer.headers.get("Content-Type", ""), answer.content)


def _explained(answer: requests.Response) -> requests.Response:
    """Put what a refusal says in words into its reason, which the standard exporters log: a 400 alone tells nobody anything."""
    if answer.status_code >= 400 and "text/" in answer.headers.get("Content-Type", "text/"):
        words = " ".join(re.sub(r"<[^>]*>", " ", answer.content[:2000].decode("utf-8", "replace")).split())
        if words.isprintable() and words:
            answer.reason = f"{answer.reason}: {words[:_LONGEST_REASON]}"
    return answer


def new_session() -> requests.Session:
    """Make a session; it opens no connection yet."""
    made = _Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made
