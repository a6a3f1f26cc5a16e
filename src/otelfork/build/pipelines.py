"""Builds one generation: the SDK's providers of this process, joined to its outbox.

The SDK's batch processors and periodic reader are not used: their threads and locks do not survive a fork, and their
at-fork hooks would revive what was dropped. It must not know who asks for a generation, or when.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otelfork import lane
from otelfork.build import components, leftovers, server
from otelfork.build.generation import Generation
from otelfork.build.guests import Guests, HomeSpanProcessors, keep_home
from otelfork.build.plans import Plan, value
from otelfork.build.recovery import Recovery
from otelfork.delivery import figures, weights
from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outbox import Outbox
from otelfork.delivery.streams import Fan, Stream
from otelfork.exporters import spoolable
from otelfork.exporters.outlets import OutboxLogRecordProcessor, OutboxReader, OutboxSpanProcessor
from otelfork.exporters.spooling import SpooledStream, Writer
from otelfork.lane.folding import Folding, fits
from otelfork.request.instruments import SCOPE
from otelfork.resource.identity import LateResource, ProcessIdGenerator, process_resource
from otelfork.settings import BatchSettings, Environment

if TYPE_CHECKING:
    from otelfork.prometheus.page import Page
    from otelfork.run.scoreboard import Scoreboard

_logger = logging.getLogger("otelfork")
_EXEMPLAR_FILTERS: Mapping[str, Callable[[], sdk_metrics.ExemplarFilter]] = {
    "trace_based": sdk_metrics.TraceBasedExemplarFilter,
    "always_on": sdk_metrics.AlwaysOnExemplarFilter,
    "always_off": sdk_metrics.AlwaysOffExemplarFilter,
}


def build(plan: Plan, live: Guests, prepare: Callable[[], None]) -> Generation:
    """Build this process's generation. Cheap: no thread pool, no connection, no import; the exporter thread does the rest."""
    board = plan.membership.join() if plan.membership is not None else None
    resource = LateResource(process_resource(value(plan.resource), plan.service_name, plan.detectors, board))
    complaints = Complaints()
    settings = plan.settings
    outbox = Outbox(
        metric_interval=settings.metric_interval,
        metric_timeout=settings.metric_timeout,
        complaints=complaints,
    )
    outbox.prepare = prepare = _one_at_a_time(prepare)
    page = _page(plan, board, prepare)
    writer = leftovers.open_spool(plan, complaints)
    readers = [OutboxReader(make, settings, complaints, outbox.tries) for make in plan.exporters["metrics"]]
    outbox.readers.extend(readers)
    guests = [keep_home(make()) for make in plan.metric_readers]
    generation = Generation(
        _tracer_provider(plan, resource),
        _meter_provider(plan, resource, [*readers, *guests, *([page.reader] if page is not None else [])]),
        LoggerProvider(resource=resource, shutdown_on_exit=False),
        outbox,
        page=page,
    )
    generation.guests += guests
    _accompany(generation, plan, resource)
    _join_spans(generation, outbox, plan, live, writer)
    _join_logs(generation, outbox, plan, live, writer)
    if not Environment().boolean("OTELFORK_PUBLIC_NAMES_ONLY"):
        _be_lean(generation, outbox)
    meter = generation.meter_provider.get_meter(SCOPE)
    figures.observe(meter, complaints.totals)
    figures.observe_repeats(meter, lambda: outbox.tries.repeated)
    if board is not None:
        _look_after_the_dead(generation, board, resource)
        figures.observe_missed(generation.meter_provider.get_meter(SCOPE), lambda: board.missed)
        server.tell(readers, board, resource.detected, settings, lambda: generation.foreign)
        if page is not None:
            page.beside = server.ServerMetrics(board, resource.detected, delta=False)
    if writer is not None:
        leftovers.look_after(generation, writer)
    return generation


def _one_at_a_time(prepare: Callable[[], None]) -> Callable[[], None]:
    """Keep the threads that collect from binding the same observable instrument twice."""
    lock = threading.RLock()

    def prepare_alone() -> None:
        with lock:
            prepare()

    return prepare_alone


def _page(plan: Plan, board: Scoreboard | None, prepare: Callable[[], None]) -> Page | None:
    """Return this process's part in the page that Prometheus scrapes; None where nobody does."""
    if plan.prometheus is None:
        return None
    # Not at the top: the room needs the extra `prometheus`. The plan has imported it.
    from otelfork.prometheus.page import Page

    return Page(plan.prometheus, board, prepare=prepare, port=plan.port)


def add_page(generation: Generation, plan: Plan) -> None:
    """Give a generation that is in use already its part in the page. It shows what is recorded from now on."""
    if generation.page is not None or generation.outbox is None:
        return
    page = _page(plan, generation.board, generation.outbox.prepare)
    if page is not None:
        provider: Any = generation.meter_provider
        provider.add_metric_reader(page.reader)
        generation.page = page
        page.start()


def _tracer_provider(plan: Plan, resource: Resource) -> TracerProvider:
    settings = plan.settings
    return TracerProvider(
        sampler=value(plan.sampler) or components.sampler_named(settings.sampler),
        resource=resource,
        shutdown_on_exit=False,
        active_span_processor=HomeSpanProcessors(),
        id_generator=value(plan.id_generator) or components.id_generator_named(settings.id_generator),
    )


def _meter_provider(plan: Plan, resource: Resource, readers: Sequence[MetricReader]) -> sdk_metrics.MeterProvider:
    return sdk_metrics.MeterProvider(
        metric_readers=readers,
        resource=resource,
        shutdown_on_exit=False,
        exemplar_filter=_EXEMPLAR_FILTERS[plan.settings.exemplar_filter](),
        views=value(plan.views) or (),
    )


def _accompany(generation: Generation, plan: Plan, resource: Resource) -> None:
    """Add the processors of ours that the settings ask for."""
    add: Any = generation.tracer_provider
    for make in plan.companions:
        companion = make(resource)
        generation.companions.append(companion)
        generation.guests.append(companion)
        add.add_span_processor(companion)


def _join_spans(generation: Generation, outbox: Outbox, plan: Plan, live: Guests, writer: Writer | None) -> None:
    """Add the user's processors, those that earlier generations lend, and ours last: what they set is exported."""
    add: Any = generation.tracer_provider
    for processor in (*_made(generation, plan.span_processors), *live.span_processors):
        add.add_span_processor(processor)
    generation.borrowed += live.span_processors
    if plan.exporters["traces"]:
        generation.processor = OutboxSpanProcessor(_queue(outbox, plan, "spans", plan.settings.spans, writer))
        add.add_span_processor(generation.processor)


def _join_logs(generation: Generation, outbox: Outbox, plan: Plan, live: Guests, writer: Writer | None) -> None:
    """The same for log records."""
    add: Any = generation.logger_provider
    for processor in (*_made(generation, plan.log_record_processors), *live.log_record_processors):
        add.add_log_record_processor(processor)
    generation.borrowed += live.log_record_processors
    if plan.exporters["logs"]:
        generation.log_processor = OutboxLogRecordProcessor(_queue(outbox, plan, "logs", plan.settings.logs, writer))
        add.add_log_record_processor(generation.log_processor)


def _made(generation: Generation, given: Sequence[Any]) -> list[Any]:
    """Return the processors of this process: one that was made for it ends with it, one that was given is only borrowed."""
    made = []
    for each in given:
        processor = value(each)
        (generation.borrowed if processor is each else generation.guests).append(processor)
        made.append(processor)
    return made


def _be_lean(generation: Generation, outbox: Outbox) -> None:
    """Join what makes requests cheap, and needs more than the SDK's public names."""
    processor = generation.processor
    if processor is not None:
        companions = generation.companions
        put = lane.parting(companions, processor.put)
        generation.lane = partial(lane.of, put=put, processor=processor, companions=companions)
    generation.folding = folding = Folding(outbox.wake)
    outbox.fold = folding.fold
    for stream in _span_streams(outbox):
        # At once and not by the exporter thread, which may wait for an answer.
        stream.relieve = partial(folding.fold, patience=0)


def warm() -> None:
    """Run once what every first use runs: caches of classes, patterns and bytecode are filled before there are workers.

    Nothing is recorded, and nothing stays: a first use in a cold process costs three times as much.
    """
    with contextlib.suppress(ImportError):  # no POSIX locks: there is no spool
        import_module("otelfork.delivery.spool")
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
    deliver = Fan(_span_streams(outbox)).deliver
    meter = generation.meter_provider.get_meter(SCOPE)
    generation.board = board
    outbox.chores = Recovery(board, resource.detected, deliver, meter).tick


def _span_streams(outbox: Outbox) -> list[Stream[Any]]:
    return [stream for stream in outbox.streams if stream.name == "spans"]


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
