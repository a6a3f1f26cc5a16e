"""What encoding one span costs, ours beside the SDK's, in one process that goes from one to the other.

`python -m benchmarks.encoding ROUNDS` prints {"sdk": [...], "otelfork": [...], "lane": [...]}, microseconds a span; the first
two encode spans of the SDK, the third those of the request lane. Most paths were not seen before.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from otelfork import lane
from otelfork.encoding.encoder import Encoder
from otelfork.exporters.private import reader
from otelfork.request.facts import Forwarding, Request
from otelfork.request.instruments import Instruments
from otelfork.request.kinds import Plan
from otelfork.senders import made
from otelfork.settings.http import HttpSettings

BATCH = 512


class _Keep(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


KIND = Request(
    "GET", "http", "/", "", "1.1", "shop.example:8000", "", "", None, "127.0.0.1", 8000, Forwarding(for_="203.0.113.9")
)
"""What the requests have in common; the lane packs it once."""
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
ROUTE = "/items/{id}"


def batches(number: int) -> tuple[list[ReadableSpan], list[Any]]:
    """Return the spans of so many requests as the SDK makes them, and as the request lane does."""
    keep = _Keep()
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}), shutdown_on_exit=False)
    provider.add_span_processor(keep)
    tracer = provider.get_tracer("bench", "1", "https://opentelemetry.io/schemas/1.38.0")
    lean: list[Any] = []
    requests = lane.of(tracer, lean.append, keep)
    assert requests is not None
    parent = SpanContext(1 << 100, 5, is_remote=True, trace_flags=TraceFlags(1))
    around = set_span_in_context(NonRecordingSpan(parent), Context())
    ended = _KIND.ending(200, None, ROUTE)
    for _ in range(number):
        client = f"203.0.113.{random.randrange(256)}"
        sketch = (f"/items/{random.randrange(10_000)}", "page=2", AGENT, "127.0.0.1", 40_000, client, None)
        span = tracer.start_span("GET", around, SpanKind.SERVER, _KIND.attributes(sketch))
        span.set_attributes(ended.attributes)
        span.update_name(ended.name)
        span.end()
        request: Any = requests.begin(_KIND, sketch, _SENDER, time.time_ns())
        requests.close(request, time.time_ns(), ended)
    return keep.spans, lean


_KIND = Plan(Instruments.create(), HttpSettings(), lambda *_: ROUTE).kind("", KIND)
_SENDER = made(1 << 100, 5, 1)


def _timed(encode: Callable[[Sequence[ReadableSpan]], bytes], spans: Sequence[ReadableSpan]) -> float:
    started = time.thread_time()
    encode(spans)
    return (time.thread_time() - started) / len(spans) * 1e6


def main() -> None:
    """Measure and print."""
    ours = Encoder(reader())
    samples: dict[str, list[float]] = {"sdk": [], "otelfork": [], "lane": []}
    for number in range(int(sys.argv[1]) + 2):
        spans, lean = batches(BATCH)
        taken = {
            "sdk": _timed(lambda given: encode_spans(given).SerializePartialToString(), spans),
            "otelfork": _timed(ours.encode, spans),
            "lane": _timed(ours.encode, lean),
        }
        if number >= 2:  # the first two warm the caches
            for name, value in taken.items():
                samples[name].append(value)
    print(json.dumps(samples))


if __name__ == "__main__":
    main()
