"""The session on the wire: what leaves it is what requests sends by itself, though little of that is asked each time."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from otelfork.exporters.session import new_session


@contextlib.contextmanager
def recording(cookie):
    """Serve POSTs; yield the address and what was sent: request line, headers in their order, body."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.requestline, self.headers.items(), body))
            self.send_response(307 if self.path == "/elsewhere" else 200)
            if self.path == "/cookie":
                self.send_header("Set-Cookie", cookie)
            if self.path == "/elsewhere":
                self.send_header("Location", "/there")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}", sent
    server.shutdown()
    thread.join()
    server.server_close()


def sender(session, address):
    """Return what sends a body, as the standard exporter does, and takes whatever else requests takes."""

    def post(body, path="/v1/traces", host=address, headers=None, **more):
        given = {"headers": {"Content-Type": "application/x-protobuf", **(headers or {})}, "allow_redirects": False}
        session.request(
            **{"method": "post", "url": f"http://{host}{path}", "data": body, "timeout": 5, **given, **more}
        )

    return post


def send_all(session, address, credentials):
    """Send one request after the other, most of them unlike the one before."""
    post = sender(session, address)
    for body in (b"one", b"two", b"x" * 70_000, b"", None, "text", {"a": "b"}, b"three"):
        post(body)
    for headers in ({"X-A": "1"}, {"X-A": "2"}, {"User-Agent": "u"}, {"user-agent": None}, {"Content-Length": "4"}, {}):
        post(b"four", headers=headers)
    post(b"auth", auth=("me", "pw"))
    post(b"url", host=f"you:pw@{address}")
    post(b"again", host=f"you:pw@{address}")
    post(b"query", path="/v1/traces?a=b", params={"c": "d"})
    post(b"cookies", cookies={"c": "d"})
    post(b"plain")
    session.headers["X-Session"] = "1"
    post(b"session's header")
    session.headers["X-Session"] = "2"
    post(b"its other value")
    post(b"sent elsewhere", path="/elsewhere")
    post(b"and goes there", path="/elsewhere", allow_redirects=True)
    post(b"sets a cookie", path="/cookie")
    post(b"has the cookie")
    session.cookies.clear()
    post(b"has none")
    session.auth = ("them", "pw")
    post(b"session's auth")
    session.auth, session.params = None, {"e": "f"}
    post(b"session's query")
    session.params = {}
    post(b"a token", headers={"authorization": "Bearer a"})
    post(b"the same", headers={"authorization": "Bearer a"})
    session.headers["Authorization"] = "Bearer b"
    post(b"the session's")
    if credentials.read_text():  # what was not there at first is not looked for again, as proxies are not
        credentials.write_text("machine 127.0.0.1 login changed password pw", encoding="utf-8")
    post(b"another login")


@pytest.mark.parametrize("known", ["", "machine 127.0.0.1 login it password pw"])
def test_on_the_wire_it_is_requests_own_session(monkeypatch, tmp_path, known):
    """Whatever follows upon whatever: request line, headers, their order and the body are what requests sends by itself."""
    credentials = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(credentials))
    with recording("c=1") as (address, sent):
        for session in (requests.Session(), new_session()):
            credentials.write_text(known, encoding="utf-8")
            with session:
                send_all(session, address, credentials)
    half = len(sent) // 2
    assert sent[:half] == sent[half:]


def test_what_was_prepared_before_is_used_again(monkeypatch):
    """A request that differs in its body alone is not prepared anew, and the first one's body is not held."""
    prepared, prepare = [], requests.Session.prepare_request
    monkeypatch.setattr(requests.Session, "prepare_request", lambda *given: prepared.append(1) or prepare(*given))
    with recording("") as (address, sent), new_session() as session:
        post = sender(session, address)
        for body in (b"one", b"three", b"two"):
            post(body)
        kept = session._prepared[1]
    assert (1, [b"one", b"three", b"two"], None) == (len(prepared), [body for _, _, body in sent], kept.body)


def test_a_session_that_was_closed_connects_anew():
    """As requests has it: the pool that was closed is not used again, and another address or certificate has its own."""
    with recording("") as (address, sent), new_session() as session:
        post = sender(session, address)
        for body in (b"one", b"two"):
            post(body)
            session.close()
        adapter = session.get_adapter(f"http://{address}")
        requested = [requests.Request("POST", f"{scheme}://{address}").prepare() for scheme in ("http", "https")]
        pools = [adapter.get_connection_with_tls_context(requested[0], True) for _ in range(2)]
        pools += [adapter.get_connection_with_tls_context(requested[1], verify) for verify in (True, False)]
    assert ([b"one", b"two"], 3) == ([body for _, _, body in sent], len(set(pools)))


def test_an_answer_is_what_requests_gives():
    """Status, headers, body, cookies and how long it took; a hook of the session sees it."""
    seen = []
    with recording("c=1") as (address, _):
        for session in (requests.Session(), new_session()):
            for hooks in ([], [lambda answer, **_: seen.append(answer.status_code)]):
                session.hooks["response"] = hooks
                given = {"data": b"x", "timeout": 5, "allow_redirects": False}
                answers = [session.post(f"http://{address}{path}", **given) for path in ("/cookie", "/elsewhere", "/")]
                assert [1, 0, 0] == [len(answer.cookies) for answer in answers]
                assert [200, 307, 200] == [answer.status_code for answer in answers]
                assert [(b"", True)] * 3 == [(answer.content, answer.elapsed.total_seconds() > 0) for answer in answers]
            session.close()
    assert [200, 307, 200] * 2 == seen
