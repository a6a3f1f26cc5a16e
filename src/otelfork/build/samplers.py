"""The stock samplers by the names of OTEL_TRACES_SAMPLER, made here and not by the SDK, which takes 1.0 for a bad ratio."""

from __future__ import annotations

from opentelemetry.sdk.trace import sampling

from otelfork.settings import Environment


def stock(name: str) -> sampling.Sampler | None:
    """Return the stock sampler of that name, or None (specification: SDK environment variables, general).

    Raises:
        SettingsError: the sampler needs a ratio and OTEL_TRACES_SAMPLER_ARG is none.
    """
    fixed: dict[str, sampling.Sampler] = {
        "always_on": sampling.ALWAYS_ON,
        "always_off": sampling.ALWAYS_OFF,
        "parentbased_always_on": sampling.DEFAULT_ON,
        "parentbased_always_off": sampling.DEFAULT_OFF,
    }
    if name in fixed:
        return fixed[name]
    ratios = {"traceidratio": sampling.TraceIdRatioBased, "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio}
    if name not in ratios:
        return None
    return ratios[name](Environment().number("OTEL_TRACES_SAMPLER_ARG", 1.0, maximum=1.0))
