"""Builds one generation: the SDK's providers of this process, joined to its outbox.

The SDK's batch processors and periodic reader are not used: their threads and locks do not survive a fork, and their
at-fork hooks would revive what was dropped. It must not know who asks for a generation, or when.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import view
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.resources import Resource, ResourceDetector
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from otelfork import lane, samplers
from otelfork.complaints import Complaints
from otelfork.exporters import Factory
from otelfork.generation import Generation
from otelfork.guests import Guests, HomeSpanProcessors, keep_home
from otelfork.identity import LateResource, ProcessIdGenerator, process_resource
from otelfork.instruments import SCOPE
from otelfork.lane.folding import Folding, fits
from otelfork.membership import Membership
from otelfork.outbox import Outbox
from otelfork.outlets import OutboxLogRecordProcessor, OutboxReader, OutboxSpanProcessor
from otelfork.recovery import Recovery
from otelfork.settings import Environment, Settings, SettingsError
from otelfork.settings.telemetry import STOCK_SAMPLERS
from otelfork.streams import Stream

if TYPE_CHECKING:
    from otelfork.scoreboard import Scoreboard

_EXEMPLAR_FILTERS: Mapping[str, Callable[[], sdk_metrics.ExemplarFilter]] = {
    "trace_based": sdk_metrics.TraceBasedExemplarFilter,
    "always_on": sdk_metrics.AlwaysOnExemplarFilter,
    "always_off": sdk_metrics.AlwaysOffExemplarFilter,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What every generation is built from: settings, imported exporter factories and the arguments of `configure`."""

    settings: Settings
    exporters: Mapping[str, Sequence[Factory]]
    detectors: Sequence[ResourceDetector]
    service_name: str | None = None
    resource: Resource | Mapping[str, Any] | Callable[[], Resource | Mapping[str, Any]] | None = None
    sampler: Sampler | Callable[[], Sampler] | None = None
    id_generator: IdGenerator | Callable[[], IdGenerator] | None = None
    views: Sequence[view.View] | Callable[[], Sequence[view.View]] = ()
    span_processors: Sequence[SpanProcessor | Callable[[], SpanProcessor]] = ()
    log_record_processors: Sequence[LogRecordProcessor | Callable[[], LogRecordProcessor]] = ()
    metric_readers: Sequence[Callable[[], MetricReader]] = ()
    membership: Membership | None = None
    """The run that the process joins; None for a process that keeps to itself."""


def build(plan: Plan, live: Guests, prepare: Callable[[], None]) -> Generation:
    """Build this process's generation. Cheap: no thread pool, no connection, no import; the exporter thread does the rest."""
    settings = plan.settings
    board = plan.membership.join() if plan.membership is not None else None
    complaints = Complaints()
    resource = LateResource(process_resource(_value(plan.resource), plan.service_name, plan.detectors, board))
    outbox = Outbox(
        metric_interval=settings.metric_interval,
        metric_timeout=settings.metric_timeout,
        complaints=complaints,
    )
    outbox.prepare = prepare
    tracer_provider = TracerProvider(
        sampler=_value(plan.sampler) or _environment_sampler(settings.sampler),
        resource=resource,
        shutdown_on_exit=False,
        active_span_processor=HomeSpanProcessors(),
        id_generator=_value(plan.id_generator) or _environment_id_generator(settings.id_generator),
    )
    processors = [_value(made) for made in plan.span_processors]
    for added in (*processors, *live.span_processors):
        tracer_provider.add_span_processor(added)
    processor = None
    if plan.exporters["traces"]:
        spans: Stream[ReadableSpan] = outbox.stream("spans", settings.spans, _maker(plan.exporters["traces"]))
        processor = OutboxSpanProcessor(spans)
        tracer_provider.add_span_processor(processor)
    readers = [OutboxReader(make, settings, complaints) for make in plan.exporters["metrics"]]
    outbox.readers.extend(readers)
    guest_readers = [keep_home(make()) for make in plan.metric_readers]
    meter_provider = sdk_metrics.MeterProvider(
        metric_readers=[*readers, *guest_readers],
        resource=resource,
        shutdown_on_exit=False,
        exemplar_filter=_EXEMPLAR_FILTERS[settings.exemplar_filter](),
        views=_value(plan.views) or (),
    )
    logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    log_processors = [_value(made) for made in plan.log_record_processors]
    for added in (*log_processors, *live.log_record_processors):
        logger_provider.add_log_record_processor(added)
    log_processor = None
    if plan.exporters["logs"]:
        logs: Stream[Any] = outbox.stream("logs", settings.logs, _maker(plan.exporters["logs"]))
        log_processor = OutboxLogRecordProcessor(logs)
        logger_provider.add_log_record_processor(log_processor)
    generation = Generation(tracer_provider, meter_provider, logger_provider, outbox, processor, log_processor)
    if not Environment().boolean("OTELFORK_PUBLIC_NAMES_ONLY"):
        _be_lean(generation, outbox)
    generation.borrowed += [*live.span_processors, *live.log_record_processors]
    given = (*plan.span_processors, *plan.log_record_processors)
    for made, added in zip(given, (*processors, *log_processors), strict=True):
        (generation.borrowed if added is made else generation.guests).append(added)
    generation.guests += guest_readers
    if board is not None:
        _look_after_the_dead(generation, board, resource)
    return generation


def _be_lean(generation: Generation, outbox: Outbox) -> None:
    """Join what makes requests cheap, and needs more than the SDK's public names."""
    processor = generation.processor
    if processor is not None:
        generation.lane = partial(lane.of, put=processor.put, processor=processor)
    generation.folding = folding = Folding(outbox.wake)
    outbox.fold = folding.fold


def warm() -> None:
    """Run once what every first use runs: caches of classes, patterns and bytecode are filled before there are workers.

    Nothing is recorded, and nothing stays: a first use in a cold process costs three times as much.
    """
    empty = Resource.get_empty()
    # Sampler and filter are given: from the environment the SDK would read them, in another spelling than ours.
    traces = TracerProvider(
        sampler=ALWAYS_ON, resource=empty, shutdown_on_exit=False, id_generator=ProcessIdGenerator()
    )
    tracer = traces.get_tracer("warm")
    with tracer.start_as_current_span("warm", attributes={"warm": True}):
        pass
    reader = InMemoryMetricReader()
    never = sdk_metrics.AlwaysOffExemplarFilter()
    provider = sdk_metrics.MeterProvider([reader], resource=empty, shutdown_on_exit=False, exemplar_filter=never)
    provider.get_meter("warm").create_histogram("warm").record(1, {"warm": True})
    reader.collect()
    LoggerProvider(resource=empty, shutdown_on_exit=False).get_logger("warm")
    with contextlib.suppress(Exception):  # an SDK that the lane does not know
        lane.fits()
        fits()


def _look_after_the_dead(generation: Generation, board: Scoreboard, resource: LateResource) -> None:
    """Let the exporter thread beat for this process, and report what killed ones left on the scoreboard."""
    outbox = generation.outbox
    if outbox is None:
        return
    traces = next((stream for stream in outbox.streams if stream.name == "spans"), None)
    deliver = traces.deliver if traces is not None else _nowhere
    meter = generation.meter_provider.get_meter(SCOPE)
    generation.board = board
    outbox.chores = Recovery(board, resource.detected, deliver, meter).tick


def _nowhere(_: Sequence[ReadableSpan]) -> bool:
    """Deliver spans where no exporter of traces is set: there is nothing to wait for."""
    return True


def _maker(factories: Sequence[Factory]) -> Callable[[], list[Any]]:
    return lambda: [make() for make in factories]


def _value(given: Any) -> Any:
    """Return what the user gave, or what the factory that the user gave makes for this process."""
    return given() if callable(given) and not isinstance(given, SpanProcessor) else given


def check_components(settings: Settings) -> None:
    """Import what sampler and id generator the environment names.

    Raises:
        SettingsError: there is no such entry point.
    """
    _environment_sampler(settings.sampler)
    _environment_id_generator(settings.id_generator)


def _environment_sampler(name: str) -> Sampler:
    """Return the stock sampler of that name, else the named entry point's."""
    group = "opentelemetry_traces_sampler"
    sampler: Sampler = samplers.stock(name) or _component("OTEL_TRACES_SAMPLER", group, name, STOCK_SAMPLERS)
    return sampler


def _environment_id_generator(name: str) -> IdGenerator:
    if name == "random":
        return ProcessIdGenerator()
    generator: IdGenerator = _component("OTEL_PYTHON_ID_GENERATOR", "opentelemetry_id_generator", name, ("random",))
    return generator


def _component(variable: str, group: str, name: str, known: Sequence[str]) -> Any:
    found = tuple(metadata.entry_points(group=group, name=name))
    if not found:
        raise SettingsError(variable, name, f"one of {', '.join(known)}, or an entry point of {group}")
    factory = found[0].load()
    if group == "opentelemetry_traces_sampler":
        return factory(Environment().text("OTEL_TRACES_SAMPLER_ARG"))
    return factory()
