"""Who this process is: its ids, and its resource, detected by the exporter thread and not by the first request."""

from __future__ import annotations

import os
import platform
import random
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import INVALID_SPAN_ID, INVALID_TRACE_ID

Attributes = Mapping[str, Any]


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

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Resource) and dict(self.attributes) == dict(other.attributes))

    def __hash__(self) -> int:
        return id(self)


def process_resource(given: Resource | Attributes | None, service_name: str | None) -> Callable[[], Resource]:
    """Return the detection for this process: the environment's attributes, then the given ones, then its identity."""

    def detect() -> Resource:
        attributes = dict(given.attributes if isinstance(given, Resource) else given or {})
        if service_name:
            attributes["service.name"] = service_name
        resource = Resource.create(attributes, given.schema_url if isinstance(given, Resource) else None)
        return resource.merge(Resource(_identity(attributes)))

    return detect


def _identity(given: Attributes) -> dict[str, Any]:
    """Return what no other living process has, and what names this process (semantic conventions: resource/process, host).

    A user's own `service.instance.id` stays readable as the prefix of ours: it is shared by all workers, ours is not.
    """
    own = str(uuid.uuid4())
    prefix = given.get("service.instance.id") or _environment_instance_id()
    return {
        "service.instance.id": f"{prefix}/{own}" if prefix else own,
        "process.pid": os.getpid(),
        "process.executable.name": os.path.basename(sys.executable),  # noqa: PTH119 - no file is touched
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": platform.python_version(),
        "host.name": socket.gethostname(),
    }


def _environment_instance_id() -> str:
    """Return the id that the user set in OTEL_RESOURCE_ATTRIBUTES; the SDK's detector would invent one otherwise."""
    return str(OTELResourceDetector().detect().attributes.get("service.instance.id", ""))


class ProcessIdGenerator(IdGenerator):
    """Random ids from a source that is seeded in this process: no child repeats its parent's or a sibling's."""

    def __init__(self) -> None:
        self._bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311 - ids need to be unique, not secret

    def generate_span_id(self) -> int:
        """Return 64 random bits that are not zero."""
        span_id = self._bits(64)
        while span_id == INVALID_SPAN_ID:
            span_id = self._bits(64)
        return span_id

    def generate_trace_id(self) -> int:
        """Return 128 random bits that are not zero."""
        trace_id = self._bits(128)
        while trace_id == INVALID_TRACE_ID:
            trace_id = self._bits(128)
        return trace_id

    def is_trace_id_random(self) -> bool:
        """Say that the trace id's last 56 bits are random (W3C trace context level 2)."""
        return True
