"""The request lane in place of a tracer that is the user's own: as the SDK made it, in a provider with whatever processors.

Processors are called as the SDK's span calls them, with a span that nobody can tell from it (see `lane`). The SDK's own do nothing
but export what has ended: that alone is done, with the span as it is where the exporter could be taken over (see
`exporters.adopted`), and else with what the SDK would have made of it. Beside others the same holds for what is due at the end, if
those have to be called at the start alone.

Private names of the SDK used here, beside those of `lane`:

1. `_span_processors` of the two processors of processors. `on_start`, `_on_ending` and `on_end` of `BatchSpanProcessor` and
   `SimpleSpanProcessor`, to see that the first two do nothing, and `_batch_processor.emit`, which is what `on_end` comes to:
   all that it looks at before is whether the span is sampled, for which a span context would have to be made.
2. `Span._readable_span`.

The probe is in `_is_idle`, `_emitting` and `lane.fits`. The public fallback is to call the processors.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeAlias, final

from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from otelfork import lane

Adopt: TypeAlias = "Callable[[Any], bool]"
"""Takes an exporter over, so that it encodes a span of the lane's as it is; tells whether it could."""

_METHODS = frozenset({"on_start", "_on_ending", "on_end"})
_BEFORE_END, _AT_END = ("on_start", "_on_ending"), ("_on_ending", "on_end")
_SAMPLED = ("context", "trace_flags", "sampled", "_batch_processor", "emit")
"""The names in `BatchSpanProcessor.on_end`."""


def of(tracer: Any, adopt: Adopt) -> lane.Lane | None:
    """Return a lane in place of this tracer of the user's, or None where it has to be used itself.

    Args:
        tracer: the tracer.
        adopt: see `Adopt`.
    """
    if type(tracer) is not sdk.Tracer:
        return None
    multi = tracer.span_processor
    if type(multi) not in {sdk.SynchronousMultiSpanProcessor, sdk.ConcurrentMultiSpanProcessor}:
        return None
    if not _is_plain(sdk.Tracer.start_span, sdk.__name__) or "start_span" in vars(tracer):
        return None
    stock = Stock(multi, adopt)
    return lane.of(tracer, stock.put, None, alone=stock)


@final
class Stock:
    """Tells whether all processors of a provider are the SDK's own; then it gives them what has ended, and nothing else is due.

    Args:
        multi: the provider's processor of processors.
        adopt: see `Adopt`.

    Attributes:
        seen: the tuple of processors that was found to be of the SDK alone (see `lane.sole`).
    """

    __slots__ = ("_adopt", "_at_end", "_ends", "_held", "_looked_at", "_multi", "_sizes", "seen")

    def __init__(self, multi: Any, adopt: Adopt) -> None:
        self._multi = multi
        self._adopt = adopt
        self._ends: list[tuple[bool, Callable[[Any], object]]] = []
        self._held: list[dict[str, Any]] = []
        self._sizes: list[int] = []
        """Of what each processor holds in its own dictionary."""
        self._looked_at: object = None
        self._at_end = False
        self.seen: object = None

    def __call__(self) -> bool:
        """Tell whether it is so now."""
        processors = self._multi._span_processors
        if processors is not self._looked_at:
            self._look_at(processors)
        return processors is self.seen

    def at_end(self) -> bool:
        """Tell whether only `put` is due when a span ends: other processors do nothing then."""
        processors = self._multi._span_processors
        if processors is not self._looked_at:
            self._look_at(processors)
        return self._at_end

    def put(self, span: Any) -> None:
        """Give the processors a span that has ended in the process that began it."""
        if [len(each) for each in self._held] != self._sizes:  # somebody has put a method of his own on one of them
            self._look_at(self._multi._span_processors)
            if self.seen is None:
                self._multi.on_end(span._readable_span())
                return
        readable = None
        for as_it_is, take in self._ends:
            if as_it_is:
                take(span)
            else:
                if readable is None:
                    readable = span._readable_span()
                take(readable)

    def _look_at(self, processors: Any) -> None:
        multi = self._multi
        ends = [self._end(each) if _is_stock(each) else None for each in processors]
        self._ends = [end for end in ends if end is not None]
        # `build.guests` has a method in their place, which does what `put` does here.
        own = {name for name, held in vars(multi).items() if not hasattr(held, "keeps_home")}
        plain = type(multi) is sdk.SynchronousMultiSpanProcessor and _METHODS.isdisjoint(own)
        self._at_end = plain and all(end or _is_idle(each, _AT_END) for end, each in zip(ends, processors, strict=True))
        self.seen = processors if plain and None not in ends else None
        self._held = [held for each in processors if (held := getattr(each, "__dict__", None)) is not None]
        self._sizes = [len(each) for each in self._held]
        self._looked_at = processors

    def _end(self, processor: Any) -> tuple[bool, Callable[[Any], object]]:
        emit = _emitting(processor)
        if emit is not None and self._adopt(processor.span_exporter):
            return True, emit
        return False, processor.on_end


def _is_stock(processor: Any) -> bool:
    kind = type(processor)
    return (
        kind in {BatchSpanProcessor, SimpleSpanProcessor}
        and _METHODS.isdisjoint(vars(processor))
        and _is_idle(processor, _BEFORE_END)
        and _is_plain(kind.on_end, BatchSpanProcessor.__module__)
    )


def _is_idle(processor: Any, names: tuple[str, ...]) -> bool:
    """Tell whether these methods of a processor do nothing: they are those of every processor, or have no body."""
    kind = type(processor)
    if not isinstance(processor, sdk.SpanProcessor) or not set(names).isdisjoint(getattr(processor, "__dict__", ())):
        return False
    for name in names:
        method = getattr(kind, name, None)
        inherited = method is getattr(sdk.SpanProcessor, name, None) and _is_plain(method, sdk.__name__)
        if method is not None and not inherited and not _has_no_body(method):
            return False
    return True


def _emitting(processor: Any) -> Callable[[Any], object] | None:
    """Return what `on_end` of a stock batch processor comes to for a sampled span, if that is known."""
    batch = getattr(processor, "_batch_processor", None)
    if type(processor) is not BatchSpanProcessor or batch is None or "emit" in vars(batch):
        return None
    emit: Callable[[Any], object] | None = getattr(batch, "emit", None)
    return emit if BatchSpanProcessor.on_end.__code__.co_names == _SAMPLED else None


def _is_plain(function: Any, module: str) -> bool:
    """Tell a method as the SDK has it from one that somebody has put in its place."""
    return isinstance(function, FunctionType) and function.__module__ == module and not hasattr(function, "__wrapped__")


def _has_no_body(method: Any) -> bool:
    code = getattr(method, "__code__", None)
    return code is not None and code.co_code == _nothing.__code__.co_code


def _nothing(*_: object) -> None:
    pass
