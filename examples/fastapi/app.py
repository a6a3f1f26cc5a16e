"""A small record shop in FastAPI, traced by one line at the end of this file.

Every kind of request that a real application has is here once: a page, an item with a number in its path, a
report that is streamed, a failure, a call to another service, and work that goes on after the response.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable

import httpx
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import CallbackOptions, Observation

from otelfork import OtelMiddleware

RECORDS = {1: "Kind of Blue", 2: "Blue Train", 7: "Mingus Ah Um", 9: "Time Out"}

# Taken while the module is imported: with a preloading server that is in the master, before any worker
# exists. Each worker inherits them, and they always reach the telemetry of the process that uses them.
tracer = trace.get_tracer("shop")
meter = metrics.get_meter("shop")
reads = meter.create_counter("shop.shelf.reads", unit="{read}", description="Times the shelf was looked at")

waiting: set[int] = set()


def count_waiting(options: CallbackOptions) -> Iterable[Observation]:
    """Tell how many orders of this process are not packed yet; asked before each export."""
    yield Observation(len(waiting))


meter.create_observable_gauge("shop.orders.waiting", callbacks=[count_waiting], unit="{order}")

shop = FastAPI(title="Record shop")


@shop.get("/")
async def index(response: Response) -> dict[str, list[str | None]]:
    """Show the whole shelf."""
    say_who_answers(response)
    return {"records": [read_shelf(number) for number in RECORDS]}


@shop.get("/items/{number}")
async def item(number: int, response: Response) -> dict[str, int | str]:
    """Show one record; the number is not part of the span's name, the route is."""
    title = read_shelf(number)
    if title is None:
        raise HTTPException(404)
    say_who_answers(response)
    return {"number": number, "title": title}


@shop.get("/report")
async def report() -> StreamingResponse:
    """Stream one line per record; the request's span ends with the last line, not with the first."""

    async def lines() -> AsyncIterator[str]:
        yield "number,title\n"
        for number, title in RECORDS.items():
            await asyncio.sleep(0.02)
            yield f"{number},{title}\n"

    return StreamingResponse(lines(), media_type="text/csv")


@shop.get("/broken")
async def broken() -> None:
    """Fail: the exception becomes a 500 and is recorded on the span."""
    raise RuntimeError("the shelf fell over")


@shop.get("/relay/{number}")
async def relay(number: int, request: Request) -> dict[str, object]:
    """Ask another service for the record and pass its answer on; both requests belong to one trace.

    The other service is this very shop unless SHOP_URL names another one.
    """
    url = f"{os.environ.get('SHOP_URL', str(request.base_url)).rstrip('/')}/items/{number}"
    with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes={"url.full": url}):
        headers: dict[str, str] = {}
        propagate.inject(headers)  # adds `traceparent`
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(url, headers=headers)
        answer.raise_for_status()
        return {"relayed": answer.json()}


@shop.post("/orders/{number}", status_code=202)
async def order(number: int, background: BackgroundTasks) -> dict[str, int]:
    """Accept an order and pack it after the response, still within this request's trace."""
    if number not in RECORDS:
        raise HTTPException(404)
    waiting.add(number)
    background.add_task(pack, number)
    return {"ordered": number}


async def pack(number: int) -> None:
    """Pack an order; its span is a child of the request that ordered, though that has been answered."""
    with tracer.start_as_current_span("pack order", attributes={"shop.record": number}):
        await asyncio.sleep(0.05)
        waiting.discard(number)
        logging.getLogger("shop").info("packed %d", number)


def read_shelf(number: int) -> str | None:
    """Look for a record: one span and one count of our own inside each request."""
    with tracer.start_as_current_span("read shelf", attributes={"shop.record": number}):
        reads.add(1)
        return RECORDS.get(number)


def say_who_answers(response: Response) -> None:
    """Name the process that answers, so that one can find it among the workers."""
    response.headers["x-pid"] = str(os.getpid())


app = OtelMiddleware(shop)
