"""python system_fork.py: a parent that has used the processor and collected garbage forks a child that has not.

Prints `parent PID` and `child PID`; each reports its figures once.
"""

import gc
import os
import time

from opentelemetry import trace

import otelfork

if __name__ == "__main__":
    otelfork.configure()
    tracer = trace.get_tracer("app")
    deadline = time.process_time() + 1.0
    while time.process_time() < deadline:
        gc.collect()
    with tracer.start_as_current_span("parent"):
        pass
    otelfork.flush(5)
    child = os.fork()
    if child == 0:
        with tracer.start_as_current_span("child"), tracer.start_as_current_span("inner"):
            pass
        otelfork.flush(5)
        os.write(1, f"child {os.getpid()}\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.write(1, f"parent {os.getpid()}\n".encode())
