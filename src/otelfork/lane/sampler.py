"""What the SDK's stock samplers decide, without a call of theirs.

Private names of the SDK: `StaticSampler._decision`, `ParentBased._root` and its four others, to know a stock sampler for what
it is. Without them, and for any other sampler: the sampler is called as specified, by the SDK's tracer.
"""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import SpanContext, TraceFlags

Decide: TypeAlias = "Callable[[SpanContext | None, int], bool]"
"""From a valid parent or None, and a trace id, to whether the span is recorded and sampled."""

_PARENTAL = (sampling.ParentBased, sampling.ParentBasedTraceIdRatio)
_CHILDREN = (
    "_root",
    "_remote_parent_sampled",
    "_remote_parent_not_sampled",
    "_local_parent_sampled",
    "_local_parent_not_sampled",
)


def decider(sampler: sampling.Sampler) -> Decide | None:
    """Return what a stock sampler decides from a parent and a trace id; None for any other, which has to be called."""
    kind = type(sampler)
    held: Any = sampler
    if kind is sampling.StaticSampler:
        return {_KEEP: _always, _DROP: _never}.get(held._decision)
    if kind is sampling.TraceIdRatioBased:
        bound, mask = held.bound, sampling.TraceIdRatioBased.TRACE_ID_LIMIT
        return lambda _, trace_id: trace_id & mask < bound
    if kind not in _PARENTAL:
        return None
    children = [decider(getattr(held, name)) for name in _CHILDREN]
    if None in children:
        return None
    root, remote, remote_not, local, local_not = cast(list[Decide], children)

    def decide(parent: SpanContext | None, trace_id: int) -> bool:
        if parent is None:
            return root(parent, trace_id)
        if parent.trace_flags & TraceFlags.SAMPLED:
            return (remote if parent.is_remote else local)(parent, trace_id)
        return (remote_not if parent.is_remote else local_not)(parent, trace_id)

    return decide


def verdict(sampler: sampling.Sampler, sampled: bool | None) -> bool | None:
    """Return what a stock sampler decides whatever the trace id is; None where that counts, or for any other sampler.

    Args:
        sampler: the sampler.
        sampled: whether the remote parent is; None for a root span.
    """
    kind = type(sampler)
    held: Any = sampler
    if kind is sampling.StaticSampler:
        return {_KEEP: True, _DROP: False}.get(held._decision)
    if kind not in _PARENTAL:
        return None
    child = {None: "_root", True: "_remote_parent_sampled", False: "_remote_parent_not_sampled"}[sampled]
    return verdict(getattr(held, child), sampled)


_KEEP, _DROP = sampling.Decision.RECORD_AND_SAMPLE, sampling.Decision.DROP


def _always(_parent: SpanContext | None, _trace_id: int) -> bool:
    return True


def _never(_parent: SpanContext | None, _trace_id: int) -> bool:
    return False
