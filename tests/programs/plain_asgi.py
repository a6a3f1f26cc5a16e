"""A plain FastAPI application that knows nothing of otelfork: a tracer and a counter of the API, taken while it is imported."""

import os

from opentelemetry import metrics, trace

from fastapi import FastAPI, Response

tracer = trace.get_tracer("app")
counter = metrics.get_meter("app").create_counter("app.work")
app = FastAPI()


@app.get("/items/{number}")
async def item(number: int, response: Response) -> dict[str, int]:
    """Do a bit of work and answer with the pid."""
    with tracer.start_as_current_span("work"):
        counter.add(1)
    response.headers["x-pid"] = str(os.getpid())
    return {"item": number}
