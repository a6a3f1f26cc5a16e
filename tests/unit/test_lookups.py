"""Name lookups at the end of a gevent program."""

from __future__ import annotations

from tests.fresh import run

from otelfork.receiver import Receiver

# atexit runs backwards: what is registered later runs before otelfork's own flush.
SCRIPT = """
from gevent import monkey; monkey.patch_all()
import atexit
import gevent.threadpool
import otelfork
from opentelemetry import trace

def no_more_threads():
    def refuse(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    gevent.threadpool.start_new_thread = refuse

atexit.register(no_more_threads)
otelfork.configure(service_name="shop")
trace.get_tracer("t").start_span("last").end()
"""


def test_the_last_export_of_a_gevent_program_needs_no_thread() -> None:
    """Python 3.12 starts no thread while it ends; gevent wants one to look a name up, and the first export may be the last."""
    with Receiver() as receiver:
        run(SCRIPT, recording=False, environment=receiver.environment("http/protobuf"))
        receiver.wait_until_quiet(timeout=10)
        names = [span.name for span in receiver.spans]
    assert ["last"] == names
