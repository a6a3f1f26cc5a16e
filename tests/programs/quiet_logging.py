"""python quiet_logging.py WAY: logs in ways that must not loop, be repeated, or make a thread; prints what it sees.

held: a line before the first use makes no thread, and leaves when the process ends.
loop: an exporter that logs while it exports, and a collector that does not answer, make no records.
pending: a parent's record in a MemoryHandler is flushed once more by its child's logging.shutdown().
"""

import logging
import logging.handlers
import os
import sys
import threading

import otelfork

logger = logging.getLogger("shop")


def held() -> None:
    otelfork.OtelMiddleware(lambda environ, start_response: [])
    logger.info("held")
    print("threads", threading.active_count(), flush=True)


class Talkative:
    """An exporter that logs, on the application's logger too."""

    exported = 0

    def export(self, batch: list) -> None:
        """Count, and say so."""
        Talkative.exported += len(batch)
        logger.warning("exported %d", len(batch))
        logging.getLogger("urllib3").warning("connection")

    def shutdown(self) -> None:
        """Say so."""
        logger.warning("shut down")


def loop() -> None:
    otelfork.configure(exporters={"logs": [Talkative], "traces": [], "metrics": []})
    logger.info("one")
    logging.getLogger("otelfork").error("ours")
    logging.getLogger("opentelemetry.sdk").error("theirs")
    for _ in range(5):
        otelfork.flush(5)
    print("exported", Talkative.exported, flush=True)


def pending() -> None:
    otelfork.configure()
    logger.addHandler(logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout)))
    logger.info("pending")
    child = os.fork()
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    {"held": held, "loop": loop, "pending": pending}[sys.argv[1]]()
