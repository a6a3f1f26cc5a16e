"""python counting_fork.py: counts 1000 and makes a span in the parent, forks, counts 10 and makes a span
in the child, which outlives it."""

import os
import time

from opentelemetry import metrics, trace

import otelfork

if __name__ == "__main__":
    otelfork.configure()
    counter = metrics.get_meter("app").create_counter("app.work")
    tracer = trace.get_tracer("app")
    counter.add(1000)
    with tracer.start_as_current_span("parent"):
        pass
    otelfork.flush(5)
    child = os.fork()
    if child == 0:
        counter.add(10)
        with tracer.start_as_current_span("child"):
            time.sleep(0.6)
    else:
        os._exit(0)  # nothing that arrives from now on is the parent's
