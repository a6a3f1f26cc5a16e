"""Builds one generation: the SDK's providers of this process, joined to its outbox.

The SDK's batch processors and periodic reader are not used: their threads and locks do not survive a fork, and their
at-fork hooks would revive what was dropped. It must not know who asks for a generation, or when.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import view
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.resources import Resource, ResourceDetector
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from otelfork import figures, samplers, weights
from otelfork.complaints import Complaints
from otelfork.exporters import Factory, spoolable
from otelfork.generation import Generation
from otelfork.guests import Guests, HomeSpanProcessors, keep_home
from otelfork.identity import LateResource, ProcessIdGenerator, process_resource
from otelfork.instruments import SCOPE
from otelfork.membership import Membership
from otelfork.outbox import Outbox
from otelfork.outlets import OutboxLogRecordProcessor, OutboxReader, OutboxSpanProcessor
from otelfork.recovery import Recovery
from otelfork.settings import BatchSettings, Environment, Settings, SettingsError
from otelfork.settings.telemetry import STOCK_SAMPLERS
from otelfork.spooling import NAMES, SpooledStream, Writer
from otelfork.streams import Fan, Stream

if TYPE_CHECKING:
    from otelfork.scoreboard import Scoreboard

_logger = logging.getLogger("otelfork")
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
    writer = _spool(plan, complaints)
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
        processor = OutboxSpanProcessor(_queue(outbox, plan, "spans", settings.spans, writer))
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
        log_processor = OutboxLogRecordProcessor(_queue(outbox, plan, "logs", settings.logs, writer))
        logger_provider.add_log_record_processor(log_processor)
    generation = Generation(tracer_provider, meter_provider, logger_provider, outbox, processor, log_processor)
    generation.borrowed += [*live.span_processors, *live.log_record_processors]
    given = (*plan.span_processors, *plan.log_record_processors)
    for made, added in zip(given, (*processors, *log_processors), strict=True):
        (generation.borrowed if added is made else generation.guests).append(added)
    generation.guests += guest_readers
    figures.observe(meter_provider.get_meter(SCOPE), complaints.totals)
    if board is not None:
        _look_after_the_dead(generation, board, resource)
    if writer is not None:
        _look_after_the_spool(generation, writer)
    return generation


def warm() -> None:
    """Run once what every first use runs: caches of classes, patterns and bytecode are filled before there are workers.

    Nothing is recorded, and nothing stays: a first use in a cold process costs three times as much.
    """
    with contextlib.suppress(ImportError):  # no POSIX locks: there is no spool
        import_module("otelfork.spool")
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


def _look_after_the_dead(generation: Generation, board: Scoreboard, resource: LateResource) -> None:
    """Let the exporter thread beat for this process, and report what killed ones left on the scoreboard."""
    outbox = generation.outbox
    if outbox is None:
        return
    deliver = Fan([stream for stream in outbox.streams if stream.name == "spans"]).deliver
    meter = generation.meter_provider.get_meter(SCOPE)
    generation.board = board
    outbox.chores = Recovery(board, resource.detected, deliver, meter).tick


def _queue(
    outbox: Outbox, plan: Plan, name: str, settings: BatchSettings, writer: Writer | None
) -> Stream[Any] | Fan[Any]:
    """Return the queue of a signal: one for each of its exporters, so that none waits for another."""
    queues = len(plan.exporters["traces"]) + len(plan.exporters["logs"])
    options: dict[str, Any] = {"weigh": weights.of_anything, "budget": plan.settings.delivery.queue_bytes / queues}
    streams: list[Stream[Any]] = []
    for make in plan.exporters["traces" if name == "spans" else name]:
        packer = spoolable(make) if writer is not None else None
        if packer is None:
            streams.append(outbox.stream(name, settings, make, **options))
        else:
            spooled: dict[str, Any] = {"writer": writer, "pack": packer()}
            streams.append(outbox.stream(name, settings, make, kind=SpooledStream, **spooled, **options))
    return streams[0] if len(streams) == 1 else Fan(streams)


def _spool(plan: Plan, complaints: Complaints) -> Writer | None:
    """Return what writes to the spool; None where there is none, or cannot be one, which is said."""
    delivery = plan.settings.delivery
    if delivery.spool is None or not any(spoolable(make) for made in plan.exporters.values() for make in made):
        return None
    try:
        # Not at the top: the room needs POSIX locks.
        from otelfork.spool import Spool

        spool = Spool(
            delivery.spool,
            plan.membership.service if plan.membership is not None else plan.service_name or "",
            max_bytes=delivery.spool_bytes,
            max_age=delivery.spool_age,
            lost=lambda kind, reason, count: complaints.lost(NAMES.get(kind, "records"), reason, count),
        )
    except (ImportError, OSError) as error:
        _logger.error("there is no spool (%s): what is not exported yet is lost with its process", error)
        return None
    return Writer(spool, delivery.spool_interval)


def _look_after_the_spool(generation: Generation, writer: Writer) -> None:
    """Let the exporter thread send what dead processes left, and show how much that was."""
    outbox, spool = generation.outbox, writer.spool
    if outbox is None:
        return
    meter = generation.meter_provider.get_meter(SCOPE)
    figures.observe_spool(meter, lambda: spool.inherited, lambda: spool.repeated)
    others = outbox.chores

    def chores() -> None:
        spool.adopt()
        if others is not None:
            others()

    outbox.chores = chores


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


@functools.cache
def _entry_point(variable: str, group: str, name: str, known: tuple[str, ...]) -> Any:
    """Load a named component, once: `check_components` does it early, and every generation uses what it found."""
    found = tuple(metadata.entry_points(group=group, name=name))
    if not found:
        raise SettingsError(variable, name, f"one of {', '.join(known)}, or an entry point of {group}")
    return found[0].load()


def _component(variable: str, group: str, name: str, known: Sequence[str]) -> Any:
    factory = _entry_point(variable, group, name, tuple(known))
    if group == "opentelemetry_traces_sampler":
        return factory(Environment().text("OTEL_TRACES_SAMPLER_ARG"))
    return factory()
