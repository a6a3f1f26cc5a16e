"""The extra `pyroscope`: one agent in each process, and local root spans that name what was sampled while they ran."""

from __future__ import annotations

import base64
import sys
import threading
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from tests import fresh
from tests.collecting import collecting
from tests.pprof import Profiled, read

from otelfork import profiles
from otelfork.profiles import profiles as linking
from otelfork.profiles.profiles import Profiles
from otelfork.run import runs
from otelfork.settings import Environment, SettingsError
from otelfork.settings.profiles import ProfileSettings

SETTINGS = ProfileSettings(address="http://127.0.0.1:1")
ADDRESS = "PYROSCOPE_SERVER_ADDRESS"


class Tags:
    """Stands in for the agent's tags: who has which, by thread."""

    def __init__(self) -> None:
        self.here: set[tuple[int, str, str]] = set()

    def add_thread_tag(self, key: str, value: str) -> None:
        self.here.add((threading.get_ident(), key, value))

    def remove_thread_tag(self, key: str, value: str) -> None:
        self.here.discard((threading.get_ident(), key, value))

    @property
    def named(self) -> dict[str, str]:
        return {key: value for _, key, value in self.here}


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> Tags:
    """Put tags of our own in the agent's place."""
    made = Tags()
    monkeypatch.setattr(linking, "pyroscope", made)
    return made


def running() -> Profiles:
    """Return a companion whose agent runs as far as it knows."""
    companion = Profiles(SETTINGS, Resource({}))
    companion._agent.running = True
    return companion


def begin(companion: Profiles, span_id: int = 2) -> dict[str, Any]:
    """Begin a request span of the lane's; return its own attributes."""
    return companion.accompany("GET", bytes(16), span_id.to_bytes(8, "big"))


def test_a_span_and_its_samples_have_the_same_id(tags: Tags):
    """The span's, in hexadecimal digits."""
    own = begin(running())
    assert ({"pyroscope.profile.id": "0" * 15 + "2"}, "0" * 15 + "2") == (own, tags.named["span_id"])


def test_a_renamed_span_leaks_no_tag(tags: Tags):
    """What is taken off is what was added, whatever the span is called by then."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(running())
    span: Any = provider.get_tracer("t").start_span("first")
    named = tags.named["span_name"]
    span.update_name("second")
    span.end()
    assert ("first", set()) == (named, tags.here)


def test_a_span_that_ends_on_another_thread_leaks_no_tag(tags: Tags):
    """Its own thread takes the tags off when its next local root begins."""
    companion = running()
    begin(companion, 2)
    other = threading.Thread(target=companion.leave, args=((2).to_bytes(8, "big"),))
    other.start()
    other.join()
    begin(companion, 3)
    assert {"0" * 15 + "3"} == {value for _, key, value in tags.here if key == "span_id"}


def test_spans_that_never_end_are_bounded(tags: Tags, monkeypatch: pytest.MonkeyPatch):
    """Past the bound a span has its attribute, and no tags."""
    monkeypatch.setattr(linking, "MOST_TAGGED", 3)
    companion = running()
    own = [begin(companion, span_id) for span_id in range(1, 6)]
    assert (5, 3) == (len([each for each in own if each]), len(companion._tagged))


def test_a_span_within_another_has_no_profile(tags: Tags):
    """Only local roots have."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(running())
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner") as inner:
        attributes: Any = inner
        assert {} == dict(attributes.attributes)


def test_a_parents_span_that_ends_in_a_child_touches_no_tag(tags: Tags, monkeypatch: pytest.MonkeyPatch):
    """The child's agent knows nothing of it."""
    companion = running()
    begin(companion)
    monkeypatch.setattr(linking.os, "getpid", lambda: -1)
    before = set(tags.here)
    companion.leave((2).to_bytes(8, "big"))
    assert before == tags.here


def test_without_an_address_nothing_is_profiled():
    """Whatever else is set."""
    assert ProfileSettings() == ProfileSettings.read(Environment({"PYROSCOPE_AUTH_TOKEN": "t"}))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PYROSCOPE_AUTH_TOKEN": "t"}, ("t", "", "")),
        ({"PYROSCOPE_AUTH_TOKEN": "t", "PYROSCOPE_BASIC_AUTH_USER": "u"}, ("", "u", "t")),
        ({"PYROSCOPE_BASIC_AUTH_USER": "u", "PYROSCOPE_BASIC_AUTH_PASSWORD": "p"}, ("", "u", "p")),
    ],
)
def test_a_token_is_a_bearer_or_a_users_password(given: dict[str, str], expected: tuple[str, str, str]):
    """Grafana Cloud's has a user."""
    read = ProfileSettings.read(Environment({ADDRESS: "http://pyroscope:4040", **given}))
    assert expected == (read.token, read.user, read.password)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (ADDRESS, "pyroscope:4040"),
        ("PYROSCOPE_UPLOAD_INTERVAL", "soon"),
        ("PYROSCOPE_UPLOAD_INTERVAL", "0"),
        ("PYROSCOPE_BASIC_AUTH_PASSWORD", "p"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str):
    """With what was expected; a password is not shown."""
    with pytest.raises(SettingsError, match=name) as caught:
        ProfileSettings.read(Environment({ADDRESS: "http://pyroscope:4040", name: value}))
    assert "'p'" not in str(caught.value)


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """It is no error: guides set the variable whether there is an agent or not."""
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "otelfork.profiles.profiles", None)
    found = profiles.companions()
    (record,) = caplog.records
    assert ([], True) == (found, "otelfork[pyroscope]" in record.getMessage())


@pytest.mark.parametrize(
    ("worker", "mule", "spooler", "expected"),
    [(0, 0, False, True), (1, 0, False, False), (0, 1, False, False), (0, 0, True, False)],
)
def test_uwsgis_master_is_told_from_who_works(
    worker: int, mule: int, spooler: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
):
    """Workers, mules and the spooler work."""
    uwsgi = SimpleNamespace(worker_id=lambda: worker, mule_id=lambda: mule, i_am_the_spooler=lambda: spooler)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    assert expected == runs.is_master()


def test_a_master_wants_no_agent(monkeypatch: pytest.MonkeyPatch):
    """Nor a thread for it; the process that it becomes without a fork may have one."""
    answers = [True, False]
    monkeypatch.setattr(runs, "is_master", lambda: answers.pop(0))
    companion = Profiles(SETTINGS, Resource({}))
    seen = []
    monkeypatch.setattr(companion._agent, "_run", lambda: seen.append(threading.current_thread().name))
    companion.start()
    alone = companion._agent._thread
    begin(companion)
    started = companion._agent._thread
    assert started is not None
    started.join(10)
    assert (None, ["otelfork-profiles"]) == (alone, seen)


WORKING = """
from otelfork.profiles import agent
agent.START_SECONDS = 0.0

def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))

def work():
    '''A span long enough for the agent to be there, and one to sample.'''
    span("first")
    companion = forks.current().companions[0]
    while not companion._agent.running:
        time.sleep(0.01)
    with trace.get_tracer("t").start_as_current_span("second") as current:
        burn()
        out(who(), format(current.get_span_context().span_id, "016x"))
"""
FORKED = """
def in_parent():
    spin(0.3)
def in_child():
    spin(0.3)
def burn():
    (in_parent if who() == "parent" else in_child)()

configure(service_name="shop")
with trace.get_tracer("t").start_as_current_span("around"):
    work()
    reaped([forked(work)])
out("flushed", otelfork.flush(10))
work()
otelfork.shutdown()
"""


def samples(collector: Any, function: str) -> list[Profiled]:
    """Return the samples in which a function ran."""
    pushed = [series for posted in collector.posted for series in read(posted.body)]
    return [sample for series in pushed for sample in series.samples if function in sample.stack]


def test_a_child_and_a_flushed_parent_are_profiled_anew():
    """A real agent in a parent, in its forked child, and in the parent again after a flush, which sends what there was."""
    with collecting(200) as collector:
        environment = {ADDRESS: collector.url(""), "PYROSCOPE_UPLOAD_INTERVAL": "60"}
        lines = fresh.run(WORKING + FORKED, environment=environment)
        found = {name: samples(collector, f"in_{name}") for name in ("parent", "child")}
    assert ("flushed True", True) == (next(line for line in lines if "flushed" in line), bool(found["child"]))
    ids = {line.split()[1] for line in lines if line.startswith("parent ")}
    assert 2 == len(ids)
    # The parent's spans are open while the child works, and are nothing of its samples.
    assert set() == {tag for sample in found["child"] for tag in sample.label("span_id")} & ids


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PYROSCOPE_AUTH_TOKEN": "secret"}, "Bearer secret"),
        (
            {"PYROSCOPE_BASIC_AUTH_USER": "me", "PYROSCOPE_BASIC_AUTH_PASSWORD": "secret"},
            "Basic " + base64.b64encode(b"me:secret").decode(),
        ),
    ],
)
def test_a_push_says_who_it_is_from(given: dict[str, str], expected: str):
    """Authorization, tenant, application, and the process's own labels."""
    script = WORKING + "def burn():\n    spin(0.2)\nconfigure(service_name='shop')\nwork()\notelfork.shutdown()\n"
    with collecting(200) as collector:
        environment = {ADDRESS: collector.url(""), "PYROSCOPE_TENANT_ID": "team", **given}
        fresh.run(script, environment={**environment, "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=prod"})
        (posted,) = collector.posted
    (series,) = read(posted.body)
    labels = {name: series.labels.get(name) for name in ("service_name", "service_namespace", "worker_id")}
    assert (expected, "team") == (posted.headers["authorization"], posted.headers["x-scope-orgid"])
    assert {"service_name": "shop", "service_namespace": "prod", "worker_id": "0"} == labels


def test_an_agent_of_the_applications_own_is_left_alone():
    """Ours is not started, and theirs goes on after a flush; its samples are linked to spans all the same."""
    script = """
    pyroscope.configure(application_name="theirs", server_address=os.environ["PYROSCOPE_SERVER_ADDRESS"])
    def burn():
        spin(0.3)
    configure(service_name="shop")
    work()
    out("flushed", otelfork.flush(10), threads().count("otelfork-profiles"))
    otelfork.shutdown()
    out("theirs", pyroscope.shutdown())
    """
    with collecting(200) as collector:
        lines = fresh.run("import pyroscope\n" + WORKING + dedent(script), environment={ADDRESS: collector.url("")})
        linked = {tag for sample in samples(collector, "burn") for tag in sample.label("span_id")}
    assert ["flushed True 0", "theirs True"] == [line for line in lines if line.startswith(("flushed", "theirs"))]
    assert linked == {line.split()[1] for line in lines if line.startswith("parent ")}


def test_a_server_that_hangs_does_not_keep_the_process():
    """The agent's own way to end would wait for it: ours comes first, and the exit's deadline is kept."""
    script = WORKING + dedent("""
    import socket
    silent = socket.create_server(("127.0.0.1", 0))
    os.environ["PYROSCOPE_SERVER_ADDRESS"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
    def burn():
        spin(0.3)
    configure(service_name="shop")
    work()
    import atexit
    began = time.monotonic()
    # At the very end: what is registered first runs last.
    atexit._run_exitfuncs()
    out("in time", time.monotonic() - began < 8)
    os._exit(0)
    """)
    lines = fresh.run(script, environment={"OTELFORK_EXIT_TIMEOUT": "1"})
    assert ("in time True", True) == (lines[-1], "span second parent" in lines)
