"""The instruments of one middleware where providers are the user's own, and the quicker ways that these allow.

Which ways those are is told by `lane.guarded` and `lane.owned`, once in each process; where none is, the instruments are used by
their public names. Nothing is built here, and nothing of the user's is replaced.
"""

from __future__ import annotations

from typing import Any, final

from otelfork import semconv
from otelfork.lane import guarded
from otelfork.lane.owned import owned
from otelfork.proxies import ProxyHistogram, ProxyTracer
from otelfork.request.instruments import ACTIVE_REQUESTS, SCOPE, Instruments
from otelfork.seals import seal
from otelfork.settings import Environment
from otelfork.version import __version__


@final
class Own:
    """Hands out the instruments of the user's own providers. These follow forks by their own means; what is noted here does not."""

    __slots__ = ("_instruments", "_seal")

    def __init__(self, instruments: Instruments) -> None:
        enable(instruments)
        self._instruments = instruments
        self._seal = seal()

    def __call__(self) -> Instruments:
        if not self._seal[0]:
            renewed = self._instruments.renewed()
            enable(renewed)
            self._instruments = renewed
            self._seal = seal()
        return self._instruments


def enable(made: Instruments, generation: Any = None) -> None:
    """Give instruments what their providers allow, as far as they have not got it yet.

    Args:
        made: the instruments.
        generation: whose providers stand behind proxies among them; without it proxies are left alone.
    """
    private = not Environment().boolean("OTELFORK_PUBLIC_NAMES_ONLY")
    tracer: Any = made.tracer
    meter: Any = made.meter
    histograms: list[Any] = [made.duration, made.request_body_size, made.response_body_size]
    if generation is not None and isinstance(tracer, ProxyTracer):
        tracer = tracer.real()
    if generation is not None and all(isinstance(each, ProxyHistogram) for each in histograms):
        meter = generation.meter_provider.get_meter(SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        histograms = [each.real() for each in histograms]
    if made.folding is None:
        figures = owned(meter, histograms, ACTIVE_REQUESTS, private=private)
        if figures is not None:
            made.running = here = figures.here()
            made.folding = here if figures.folds else None
    if made.lane is None and private:
        made.lane = guarded.of(tracer, _adopt)


def _adopt(exporter: Any) -> bool:
    if not type(exporter).__module__.startswith("opentelemetry.exporter.otlp.proto."):
        return False
    from otelfork.exporters.adopted import adopt  # it needs the packages of these exporters

    return adopt(exporter)
