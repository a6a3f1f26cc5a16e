"""The port: who gets it, what it answers, and that a forked child does not keep it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import time

import pytest
from tests.fresh import run
from tests.unit.exporting import PATIENCE

from otelfork.prometheus.contender import Contender
from otelfork.prometheus.endpoint import Endpoint
from otelfork.prometheus.holders import Holders, stranger
from otelfork.run import runs
from otelfork.settings.prometheus import PrometheusSettings

PAGE = b"a page\n"


def answer(accept, accept_encoding):
    """Answer with a page."""
    return {"Content-Type": accept or "text/plain", "Content-Length": str(len(PAGE))}, PAGE


@pytest.fixture
def endpoint():
    """Serve on a free port."""
    endpoint = Endpoint("127.0.0.1", 0, answer)
    endpoint.start()
    yield endpoint
    endpoint.close()


@pytest.fixture
def contend(tmp_path):
    """Return what makes a contender of a run for a port; all of them are closed in the end."""
    made = []

    def make(port, run="ours", *, leads=True):
        holders = Holders(tmp_path, run, f"service {run}")
        contender = Contender(PrometheusSettings("127.0.0.1", port), holders, answer, leads=lambda: leads)
        made.append(contender)
        return contender

    yield make
    for each in made:
        each.close()


def free_port():
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(port, method="GET", path="/metrics", **headers):
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def serves(port):
    """Tell whether somebody serves a port."""
    try:
        return request(port) == (200, PAGE)
    except OSError:
        return False


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/metrics", (200, PAGE)),
        ("GET", "/metrics?name[]=a", (200, PAGE)),
        ("GET", "/", (200, PAGE)),
        ("HEAD", "/metrics", (200, b"")),
    ],
)
def test_a_scrape_is_answered(endpoint, method, path, expected):
    """By GET and HEAD, at /metrics."""
    assert expected == request(endpoint.port, method, path)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/other", 404), ("POST", "/metrics", 501)])
def test_nothing_else_is_answered(endpoint, method, path, status):
    """Other paths and methods are refused."""
    assert status == request(endpoint.port, method, path)[0]


def test_silent_clients_keep_nobody_out(endpoint):
    """A client that says nothing holds a thread of few; the others are answered."""
    silent = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(5)]
    found = serves(endpoint.port)
    for each in silent:
        each.close()
    assert found


def test_a_closed_endpoint_frees_the_port(endpoint):
    """Another one gets it at once."""
    endpoint.close()
    successor = Endpoint("127.0.0.1", endpoint.port, answer)
    successor.start()
    found = serves(successor.port)
    successor.close()
    assert found


def test_one_of_two_siblings_serves(contend, caplog):
    """The other waits without a word, and takes over when the first one goes."""
    port = free_port()
    first, second = contend(port), contend(port)
    with caplog.at_level(logging.INFO, "otelfork"):
        for each in (first, second, second, second):
            each.contend()
        first.close()
        second.contend()
    assert ([], True) == ([record.getMessage() for record in caplog.records], serves(port))


def test_a_second_server_names_the_holder(contend, caplog):
    """One of its workers says once who has the port."""
    port = free_port()
    contend(port, "other").contend()
    silent, leader = contend(port, leads=False), contend(port)
    with caplog.at_level(logging.ERROR, "otelfork"):
        for each in (silent, leader) * 3:
            each.contend()
    told = [record.getMessage() for record in caplog.records]
    assert [True] == [f"process {os.getpid()} of the service service other has it" in message for message in told]


def test_a_stranger_is_named(contend, caplog):
    """What is no server of ours is named by pid and command."""
    with socket.socket() as other, caplog.at_level(logging.ERROR, "otelfork"):
        other.bind(("127.0.0.1", 0))
        other.listen()
        contender = contend(other.getsockname()[1])
        for _ in range(4):
            contender.contend()
    assert [True] == [f"(process {os.getpid()} (" in record.getMessage() for record in caplog.records]


def test_nobody_has_a_free_port():
    """Where /proc does not tell, the message says so."""
    assert "another process" == stranger(free_port())


def test_the_siblings_of_a_dead_holder_go_first(contend, tmp_path):
    """Another server waits as long as they are heard of, and gets the port when they are not."""
    port = free_port()
    note = tmp_path / "other.holder"
    dead = {"pid": 2**22 + 1, "started": 1, "namespace": runs.namespace()}
    note.write_text(json.dumps({**dead, "service": "s", "host": "127.0.0.1", "port": port}))
    contender = contend(port)
    contender.contend()
    before = serves(port)
    os.utime(note, (time.time() - 60,) * 2)
    contender.contend()
    assert (False, True) == (before, serves(port))


def test_a_port_that_is_free_again_is_taken_over(contend, caplog):
    """The second server serves when the first has ended, and says so."""
    port = free_port()
    first, second = contend(port, "other"), contend(port)
    first.contend()
    with caplog.at_level(logging.WARNING, "otelfork"):
        for _ in range(2):
            second.contend()
        first.close()
        second.contend()
    assert (2, True) == (len(caplog.records), serves(port))


def test_a_host_that_is_not_ours_is_told(tmp_path, caplog):
    """The reason is in the message."""
    settings = PrometheusSettings("192.0.2.1", free_port())
    contender = Contender(settings, Holders(tmp_path, "r", "s"), answer, leads=lambda: True)
    with caplog.at_level(logging.ERROR, "otelfork"):
        contender.contend()
    assert ["192.0.2.1" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("fork", ["os.fork", "c_fork"])
def test_a_forked_child_does_not_keep_the_port(fork):
    """The port is free when the worker that had it is gone, though its child lives; after a fork in C, once it records."""
    script = f"""
import socket
from otelfork.prometheus.endpoint import Endpoint
configure()
span("before")
endpoint = Endpoint("127.0.0.1", 0, None)
reading, writing = os.pipe()
pid = {fork}()
if pid == 0:
    span("in the child")
    os.write(writing, b"1")
    signal.pause()
os.read(reading, 1)
endpoint.close()
try:
    Endpoint("127.0.0.1", endpoint.port, None)
    out("free")
finally:
    os.kill(pid, signal.SIGKILL)
"""
    assert "free" in run(script)
