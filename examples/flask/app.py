"""A small book shop in Flask, traced by one line at the end of this file.

Every kind of request that a real application has is here once: a page, an item with a number in its path, a
report that is streamed, a failure, a call to another service, and work that goes on after the response.
"""

from __future__ import annotations

import contextvars
import json
import logging
import os
import time
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, Response, abort, jsonify, request
from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import CallbackOptions, Observation

from otelfork import OtelMiddleware

BOOKS = {1: "Middlemarch", 2: "Walden", 7: "Emma", 9: "Ulysses"}

# Taken while the module is imported: with a preloading server that is in the master, before any worker
# exists. Each worker inherits them, and they always reach the telemetry of the process that uses them.
tracer = trace.get_tracer("shop")
meter = metrics.get_meter("shop")
reads = meter.create_counter("shop.shelf.reads", unit="{read}", description="Times the shelf was looked at")

packer = ThreadPoolExecutor(max_workers=2, thread_name_prefix="packer")
waiting: set[str] = set()


def count_waiting(options: CallbackOptions) -> Iterable[Observation]:
    """Tell how many orders of this process are not packed yet; asked before each export."""
    yield Observation(len(waiting))


meter.create_observable_gauge("shop.orders.waiting", callbacks=[count_waiting], unit="{order}")

shop = Flask(__name__)


@shop.get("/")
def index() -> Response:
    """Show the whole shelf."""
    return jsonify(books=[read_shelf(number) for number in BOOKS])


@shop.get("/items/<int:number>")
def item(number: int) -> Response:
    """Show one book; the number is not part of the span's name, the route is."""
    title = read_shelf(number)
    if title is None:
        abort(404)
    return jsonify(number=number, title=title)


@shop.get("/report")
def report() -> Response:
    """Stream one line per book; the request's span ends with the last line, not with the first."""

    def lines() -> Iterator[str]:
        yield "number,title\n"
        for number, title in BOOKS.items():
            time.sleep(0.02)
            yield f"{number},{title}\n"

    return Response(lines(), mimetype="text/csv")


@shop.get("/broken")
def broken() -> Response:
    """Fail: the exception becomes a 500 and is recorded on the span."""
    raise RuntimeError("the shelf fell over")


@shop.get("/relay/<int:number>")
def relay(number: int) -> Response:
    """Ask another service for the book and pass its answer on; both requests belong to one trace.

    The other service is this very shop unless SHOP_URL names another one.
    """
    url = f"{os.environ.get('SHOP_URL', request.host_url).rstrip('/')}/items/{number}"
    with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes={"url.full": url}):
        headers: dict[str, str] = {}
        propagate.inject(headers)  # adds `traceparent`
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return jsonify(relayed=json.load(answer))


@shop.post("/orders/<int:number>")
def order(number: int) -> tuple[Response, int]:
    """Accept an order and pack it in the background, still within this request's trace."""
    if number not in BOOKS:
        abort(404)
    receipt = f"{number}-{time.time_ns()}"
    waiting.add(receipt)
    # A thread does not inherit the current span by itself: run the work in a copy of this request's context.
    packer.submit(contextvars.copy_context().run, pack, receipt)
    return jsonify(receipt=receipt), 202


def pack(receipt: str) -> None:
    """Pack an order; its span is a child of the request that ordered, though that has been answered."""
    with tracer.start_as_current_span("pack order", attributes={"shop.receipt": receipt}):
        time.sleep(0.05)
        waiting.discard(receipt)
        logging.getLogger("shop").info("packed %s", receipt)


def read_shelf(number: int) -> str | None:
    """Look for a book: one span and one count of our own inside each request."""
    with tracer.start_as_current_span("read shelf", attributes={"shop.book": number}):
        reads.add(1)
        return BOOKS.get(number)


@shop.after_request
def say_who_answered(response: Response) -> Response:
    """Name the process that answered, so that one can find it among the workers."""
    response.headers["x-pid"] = str(os.getpid())
    return response


app = OtelMiddleware(shop)
