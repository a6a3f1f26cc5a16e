"""Who a process is: its resource, found late, and ids that nobody else has."""

from __future__ import annotations

import json
import os

import pytest
from opentelemetry.sdk.resources import Resource, ResourceDetector
from opentelemetry.trace import INVALID_SPAN_ID, INVALID_TRACE_ID
from tests.fresh import run

from otelfork.resource.identity import LateResource, ProcessIdGenerator, detectors, process_resource
from otelfork.settings import SettingsError


def detect(given=None, service_name=None, chosen=()):
    """Return the attributes of this process's resource."""
    return process_resource(given, service_name, [*chosen, *detectors(["otel"])])().attributes


def test_a_late_resource_is_detected_once_and_not_before_it_is_read():
    """The first request does not wait for the detectors."""
    calls = []
    late = LateResource(lambda: calls.append(1) or Resource({"a": "b"}, "https://schema"))
    before = len(calls)
    attributes = (dict(late.attributes), late.schema_url, late.merge(Resource({"c": "d"})).attributes["a"])
    assert (0, ({"a": "b"}, "https://schema", "b"), [1]) == (before, attributes, calls)


def test_a_late_resource_can_be_printed():
    """The console exporters ask for JSON."""
    text = LateResource(lambda: Resource({"a": "b"})).to_json()
    assert {"attributes": {"a": "b"}, "schema_url": ""} == json.loads(text)


def test_resources_with_the_same_attributes_are_equal_to_whoever_compares():
    """A user's resource and the late one are compared by content, one's own identity by itself."""
    late = LateResource(lambda: Resource({"a": "b"}))
    assert (True, True, False, True) == (
        late == Resource({"a": "b"}),
        late == late,
        late == Resource({}),
        hash(late) == hash(late),
    )


def test_what_the_program_says_stands_over_the_environment(monkeypatch):
    """Arguments win over OTEL_RESOURCE_ATTRIBUTES, the service name over both."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=environment,b=environment,service.name=environment")
    attributes = detect({"a": "argument", "service.name": "argument"}, "named")
    assert ("argument", "environment", "named") == (attributes["a"], attributes["b"], attributes["service.name"])


def test_a_service_without_a_name_is_called_after_its_executable(monkeypatch):
    """As the convention says."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    assert detect()["service.name"].startswith("unknown_service:python")


def test_the_process_says_its_own_pid_whatever_was_given():
    """A resource made in the master names the master's pid."""
    assert os.getpid() == detect({"process.pid": 1})["process.pid"]


def test_a_users_own_instance_id_is_kept_as_prefix():
    """It is shared by all workers, ours is not."""
    prefix, _, own = detect({"service.instance.id": "shop-1"})["service.instance.id"].partition("/")
    assert ("shop-1", 36) == (prefix, len(own))


def test_a_detector_that_fails_costs_its_own_attributes_only(caplog):
    """The others are detected, and the failure is said."""

    class Broken(ResourceDetector):
        def detect(self):
            raise OSError("no such file")

    class Working(ResourceDetector):
        def detect(self):
            return Resource({"working": True})

    attributes = detect(chosen=[Broken(), Working()])
    assert (True, True) == (attributes["working"], "detector Broken failed" in caplog.text)


def test_an_unknown_detector_is_an_error_that_names_it():
    """Told at once, with its variable and value."""
    with pytest.raises(SettingsError, match="OTEL_EXPERIMENTAL_RESOURCE_DETECTORS='otel,nonesuch'"):
        detectors(["otel", "nonesuch"])


def test_no_two_processes_share_an_instance_id_or_a_pid():
    """A parent, its children, a grandchild, and a child forked in C."""
    lines = run("""
        configure(exporters={"traces": [], "metrics": [], "logs": []}, resource={"service.instance.id": "mine"})
        said, go = os.pipe(), os.pipe()
        def say():
            resource = trace.get_tracer_provider().resource.attributes
            out(resource["process.pid"] == os.getpid(), resource["service.instance.id"])
        def living():  # until all have said theirs: a successor takes over the id of a process that is gone
            say()
            os.write(said[1], b".")
            os.read(go[0], 1)
        def both():
            nested = forked(living)
            living()
            reaped([nested])
        say()
        children = [forked(both), forked(living), forked(living, c_fork)]
        for _ in range(4): os.read(said[0], 1)
        os.write(go[1], b"....")
        reaped(children)
        os._exit(0)
    """)
    pids, ids = zip(*(line.split() for line in lines), strict=True)
    assert ({"True"}, 5, {"mine"}) == (set(pids), len(set(ids)), {each.split("/")[0] for each in ids})


def test_ids_are_valid_random_and_of_the_right_size():
    """Never zero, never more than their bits, never twice."""
    generator = ProcessIdGenerator()
    spans = {generator.generate_span_id() for _ in range(1000)}
    traces = {generator.generate_trace_id() for _ in range(1000)}
    assert (1000, 1000, True, True) == (
        len(spans),
        len(traces),
        max(spans) < 2**64 and max(traces) < 2**128,
        generator.is_trace_id_random(),
    )


def test_an_invalid_id_is_never_given_out():
    """All zeros means no span: the next random number is taken."""
    generator = ProcessIdGenerator()
    numbers = iter([INVALID_SPAN_ID, 7, INVALID_TRACE_ID, 8])
    generator.bits = lambda _: next(numbers)
    assert (7, 8) == (generator.generate_span_id(), generator.generate_trace_id())
