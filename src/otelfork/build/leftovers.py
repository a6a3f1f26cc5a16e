"""What dead processes of a service left, on disk and on the scoreboard: who looks for it, and who sends it.

It must not know how a spool is written (`delivery.spool`) or sent (`exporters.spooling`).
"""

from __future__ import annotations

import logging

from otelfork.build.generation import Generation
from otelfork.build.plans import Plan
from otelfork.delivery import figures
from otelfork.delivery.complaints import Complaints
from otelfork.exporters import spoolable
from otelfork.exporters.spooling import NAMES, Writer
from otelfork.request.instruments import SCOPE

_logger = logging.getLogger("otelfork")


def left_behind(plan: Plan) -> bool:
    """Tell whether the dead workers of this master left requests on the scoreboard, or anything in the spool."""
    place = plan.membership
    if place is None or not place.at_home():
        return False
    directory = plan.settings.delivery.spool
    if place.left_behind() or directory is None:
        return place.left_behind()
    try:
        from otelfork.delivery import claims
    except ImportError:  # no POSIX locks: there is no spool
        return False
    return claims.left_behind(directory, place.service)


def open_spool(plan: Plan, complaints: Complaints) -> Writer | None:
    """Return what writes to the spool; None where there is none, or cannot be one, which is said."""
    delivery = plan.settings.delivery
    if delivery.spool is None or not any(spoolable(make) for made in plan.exporters.values() for make in made):
        return None
    try:
        # Not at the top: the room needs POSIX locks.
        from otelfork.delivery.spool import Spool

        spool = Spool(
            delivery.spool,
            plan.membership.service if plan.membership is not None else plan.service_name or "",
            max_bytes=delivery.spool_bytes,
            max_age=delivery.spool_age,
            lost=lambda kind, reason, count: complaints.lost(NAMES.get(kind, "records"), reason, count),
        )
    except (ImportError, OSError) as error:
        _logger.error("there is no spool (%s): what is not exported yet is lost with its process", error)
        return None
    return Writer(spool, delivery.spool_interval)


def look_after(generation: Generation, writer: Writer) -> None:
    """Let the exporter thread send what dead processes left, and show how much that was."""
    outbox, spool = generation.outbox, writer.spool
    if outbox is None:
        return
    meter = generation.meter_provider.get_meter(SCOPE)
    figures.observe_spool(meter, lambda: spool.inherited, lambda: spool.repeated)
    others = outbox.chores

    def chores() -> None:
        spool.adopt()
        if others is not None:
            others()

    outbox.chores = chores
    outbox.chores_due = 0.0  # what the dead left goes before what this process records
