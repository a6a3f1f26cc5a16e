"""The spans of workers that were killed, and of the requests that they were busy with, as their rows on the scoreboard tell."""

from __future__ import annotations

import uuid
from typing import Any

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otelfork import semconv
from otelfork.request import naming
from otelfork.request.instruments import SCOPE
from otelfork.run.boardfile import Orphan
from otelfork.run.ends import UNKNOWN
from otelfork.workers import names

HEARTBEAT = "otelfork.worker.last_heartbeat"
RECOVERED = "otelfork.recovered"


def span(orphan: Orphan, resource: Resource) -> ReadableSpan:
    """Return what the dead could not send.

    Args:
        orphan: the worker, or the request.
        resource: this process's; the dead one's differs in its identity only.
    """
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = None
    if orphan.parent_id:
        parent = SpanContext(orphan.trace_id, orphan.parent_id, is_remote=True, trace_flags=flags)
    ended = max(orphan.start, orphan.heartbeat)
    found = {semconv.ERROR_TYPE: orphan.ended or UNKNOWN, RECOVERED: True, HEARTBEAT: orphan.heartbeat}
    told = _of_worker(orphan, found, ended) if orphan.worker else _of_request(orphan, found)
    return ReadableSpan(
        context=SpanContext(orphan.trace_id, orphan.span_id, is_remote=False, trace_flags=flags),
        parent=parent,
        resource=_resource_of(orphan, resource),
        start_time=orphan.start,
        end_time=ended,
        instrumentation_scope=InstrumentationScope(SCOPE, schema_url=semconv.SCHEMA_URL),
        **told,
    )


def _of_request(orphan: Orphan, found: dict[str, Any]) -> dict[str, Any]:
    """Return what is a request's, with the names of a server's instrumentor where one is on."""
    found |= {semconv.HTTP_REQUEST_METHOD: orphan.method, semconv.URL_PATH: orphan.path}
    named = naming.current
    name, attributes = (orphan.method, found) if named is None else named.recovered(orphan.method, found)
    return {
        "name": name,
        "kind": SpanKind.SERVER,
        "attributes": attributes,
        "status": Status(StatusCode.ERROR, f"the worker (pid {orphan.pid}) ended while it handled this request"),
    }


def _of_worker(orphan: Orphan, found: dict[str, Any], ended: int) -> dict[str, Any]:
    how = orphan.ended or UNKNOWN
    generation, _, own_id = orphan.path.partition(" ")
    if own_id:
        found[names.own_id(orphan.method)] = int(own_id)
    return {
        "name": f"{orphan.method}.worker",
        "kind": SpanKind.INTERNAL,
        "attributes": {
            names.PID: orphan.pid,
            names.ID: orphan.slot,
            names.GENERATION: int(generation),
            names.REASON: how,
            **found,
        },
        "events": [Event(names.STARTED, {}, orphan.start), Event(names.STOPPED, {names.REASON: how}, ended)],
        "status": Status(StatusCode.ERROR, f"the worker (pid {orphan.pid}) was killed"),
    }


def _resource_of(orphan: Orphan, own: Resource) -> Resource:
    instance = str(uuid.uuid5(uuid.UUID(bytes=orphan.bits), f"slot {orphan.slot}"))
    return own.merge(Resource({"process.pid": orphan.pid, "worker.id": orphan.slot, SERVICE_INSTANCE_ID: instance}))
