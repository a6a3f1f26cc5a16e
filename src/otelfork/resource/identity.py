"""Who this process is: its ids, and its resource, detected by the exporter thread and not by the first request."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, Protocol

from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
    Resource,
    ResourceDetector,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import INVALID_SPAN_ID, INVALID_TRACE_ID

from otelfork.resource.surroundings import look_around
from otelfork.settings import Environment, SettingsError
from otelfork.settings.resource import service

Attributes = Mapping[str, Any]
_logger = logging.getLogger("otelfork")
_DETECTORS = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
_SDK = {
    TELEMETRY_SDK_LANGUAGE: "python",
    TELEMETRY_SDK_NAME: "opentelemetry",
    TELEMETRY_SDK_VERSION: sdk_version,
}


class LateResource(Resource):
    """A resource whose attributes are detected when they are first read.

    `Resource.create` runs the detectors in a thread pool; the first request of a worker shall not wait for that. Each process
    has one resource object, so identity is equality enough, and grouping spans by it costs no JSON dump (the SDK's hash).
    """

    def __init__(self, detect: Callable[[], Resource]) -> None:
        # The SDK's constructor is not called: it would fix the attributes now.
        self._detect = detect
        self._found: Resource | None = None
        self._lock = threading.Lock()

    def detected(self) -> Resource:
        """Return the detected resource; the detectors run once."""
        if self._found is None:
            with self._lock:
                if self._found is None:
                    self._found = self._detect()
        return self._found

    @property
    def attributes(self) -> Any:
        """The attributes, detected at the first reading."""
        return self.detected().attributes

    @property
    def schema_url(self) -> str:
        """The schema of the detected attributes."""
        return self.detected().schema_url

    def merge(self, other: Resource) -> Resource:
        """Return a new resource with the other's attributes over ours."""
        return self.detected().merge(other)

    def to_json(self, indent: int | None = 4) -> str:
        """Return the detected resource as JSON, as the console exporters print it."""
        return self.detected().to_json(indent)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Resource) and dict(self.attributes) == dict(other.attributes))

    def __hash__(self) -> int:
        return id(self)


def detectors(names: Sequence[str]) -> list[ResourceDetector]:
    """Import the detectors that OTEL_EXPERIMENTAL_RESOURCE_DETECTORS names; `otel`, the environment's attributes, comes last.

    Raises:
        SettingsError: there is no such detector.
    """
    found: list[ResourceDetector] = []
    for name in names:
        if name == "otel":
            continue
        entries = tuple(metadata.entry_points(group="opentelemetry_resource_detector", name=name))
        if not entries:
            raise SettingsError(_DETECTORS, ",".join(names), "installed detectors, such as otel, process, os, host")
        found.append(entries[0].load()())
    service(Environment())  # what is wrong with the variables is said here, once, and not by each worker
    return [*found, ServiceDetector()]


class SurroundingsDetector(ResourceDetector):
    """Host, system, process, container and pod; below everything that the user says."""

    def detect(self) -> Resource:
        """Look around in this process."""
        return Resource(look_around(Environment()))


class ServiceDetector(ResourceDetector):
    """The detector `otel`: the service's variables (see `settings.resource`)."""

    def detect(self) -> Resource:
        """Read the environment."""
        return Resource(service(Environment()))


class Place(Protocol):
    """A process's place among the processes of its run (see `scoreboard.Scoreboard`)."""

    slot: int

    @property
    def instance_id(self) -> str:
        """An id that no other living process has."""


def process_resource(
    given: Resource | Attributes | None,
    service_name: str | None,
    chosen: Sequence[ResourceDetector],
    place: Place | None = None,
) -> Callable[[], Resource]:
    """Return the detection for this process: the detectors' attributes, then the given ones, then its identity.

    The detectors run one after the other. `Resource.create` runs them in a thread pool, and a process that records for the
    first time on its way out has none: the interpreter refuses new futures by then.
    """

    def detect() -> Resource:
        resource = Resource(_SDK)
        for detector in (SurroundingsDetector(), *chosen):
            resource = resource.merge(_detected(detector))
        if isinstance(given, Resource):
            resource = resource.merge(given)
        elif given:
            resource = resource.merge(Resource(dict(given)))
        if service_name:
            resource = resource.merge(Resource({SERVICE_NAME: service_name}))
        if not resource.attributes.get(SERVICE_NAME):
            resource = resource.merge(Resource({SERVICE_NAME: _unknown_service()}))
        return resource.merge(Resource(_identity(resource.attributes, place)))

    return detect


def _detected(detector: ResourceDetector) -> Resource:
    try:
        return detector.detect()
    except Exception:
        _logger.exception("the resource detector %s failed; its attributes are missing", type(detector).__name__)
        return Resource.get_empty()


def _unknown_service() -> str:
    """Return the name of a service that has none (semantic conventions: resource, `service.name`)."""
    return f"unknown_service:{os.path.basename(sys.executable)}" if sys.executable else "unknown_service"  # noqa: PTH119


def _identity(given: Attributes, place: Place | None) -> dict[str, Any]:
    """Return what no other living process has: the user's values may not stand over these.

    A user's own `service.instance.id` stays readable as the prefix of ours: it is shared by all workers, ours is not.
    """
    own = place.instance_id if place is not None else str(uuid.uuid4())
    prefix = given.get(SERVICE_INSTANCE_ID)
    slot = {} if place is None else {"worker.id": place.slot}
    return {
        SERVICE_INSTANCE_ID: f"{prefix}/{own}" if prefix else own,
        "process.pid": os.getpid(),
        **slot,
    }


class ProcessIdGenerator(IdGenerator):
    """Random ids from a source that is seeded in this process: no child repeats its parent's or a sibling's.

    Attributes:
        bits: returns so many random bits; what an id is made of that is not zero.
    """

    def __init__(self) -> None:
        self.bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311 - ids need to be unique, not secret

    def generate_span_id(self) -> int:
        """Return 64 random bits that are not zero."""
        span_id = self.bits(64)
        while span_id == INVALID_SPAN_ID:
            span_id = self.bits(64)
        return span_id

    def generate_trace_id(self) -> int:
        """Return 128 random bits that are not zero."""
        trace_id = self.bits(128)
        while trace_id == INVALID_TRACE_ID:
            trace_id = self.bits(128)
        return trace_id

    def is_trace_id_random(self) -> bool:
        """Say that the trace id's last 56 bits are random (W3C trace context level 2)."""
        return True
