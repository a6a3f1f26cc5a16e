"""What encoding one SDK span costs, ours beside the SDK's, in one process that goes from one to the other.

`python -m benchmarks.encoding ROUNDS` prints {"sdk": [...], "otelfork": [...]}, microseconds a span.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

from otelfork.encoder import Encoder
from otelfork.exporters.private import reader

BATCH = 512


class _Keep(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def batch(number: int) -> list[ReadableSpan]:
    """Return the spans of so many requests, as the SDK by hand makes them."""
    keep = _Keep()
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}), shutdown_on_exit=False)
    provider.add_span_processor(keep)
    tracer = provider.get_tracer("by-hand", "1", "https://opentelemetry.io/schemas/1.38.0")
    for index in range(number):
        attributes: dict[str, Any] = {
            "http.request.method": "GET",
            "url.scheme": "http",
            "url.path": f"/items/{random.randrange(10_000)}",
            "url.query": "page=2",
            "server.address": "shop.example",
            "server.port": 8000,
            "client.address": f"203.0.113.{random.randrange(256)}",
            "network.protocol.version": "1.1",
            "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        }
        span = tracer.start_span(f"GET /items/{{id}} {index % 7}", kind=SpanKind.SERVER, attributes=attributes)
        span.set_attribute("http.response.status_code", 200)
        span.end()
    return keep.spans


def _timed(encode: Callable[[Sequence[ReadableSpan]], bytes], spans: Sequence[ReadableSpan]) -> float:
    started = time.thread_time()
    encode(spans)
    return (time.thread_time() - started) / len(spans) * 1e6


def main() -> None:
    """Measure and print."""
    ours = Encoder(reader())
    samples: dict[str, list[float]] = {"sdk": [], "otelfork": []}
    for number in range(int(sys.argv[1]) + 2):
        spans = batch(BATCH)
        pair = (
            _timed(lambda given: encode_spans(given).SerializePartialToString(), spans),
            _timed(ours.encode, spans),
        )
        if number >= 2:  # the first two warm the caches
            samples["sdk"].append(pair[0])
            samples["otelfork"].append(pair[1])
    print(json.dumps(samples))


if __name__ == "__main__":
    main()
