"""The tracer provider and tracers that follow the process."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from tests.fresh import counted, run

from otelfork import bootstrap
from otelfork.proxies import ProxyTracerProvider
from otelfork.testing import capture

provider = bootstrap._bootstrap.tracer_provider


def test_the_provider_is_one_of_the_sdk():
    """Applications ask with isinstance before they add a processor."""
    assert isinstance(provider, sdk.TracerProvider)


def test_the_provider_answers_what_the_sdks_answers(captured):
    """Resource, sampler and id generator are those of this process's provider."""
    assert ("python", True, True) == (
        provider.resource.attributes["telemetry.sdk.language"],
        provider.sampler is not None,
        provider.id_generator.generate_trace_id() > 0,
    )


def test_the_provider_flushes_and_shuts_down(captured):
    """The SDK's two commands reach this process's telemetry; what is recorded after the second goes nowhere."""
    tracer = provider.get_tracer("t")
    flushed = provider.force_flush(1000)
    provider.shutdown()
    tracer.start_span("late").end()
    assert (True, ()) == (flushed, captured.spans)


def test_every_public_name_of_the_sdks_provider_is_answered_by_ours(captured):
    """A later SDK with another public method must not find half an object."""
    ours = {name for name in vars(ProxyTracerProvider) if not name.startswith("_")}
    public = {name for name in (*vars(sdk.TracerProvider), *vars(provider)) if not name.startswith("_")}
    assert set() == public - ours


def test_the_same_name_is_the_same_tracer():
    """Asking again makes nothing new; another version does."""
    first = provider.get_tracer("t", "1", attributes={"a": "b"})
    assert (True, False) == (
        provider.get_tracer("t", "1", attributes={"a": "b"}) is first,
        provider.get_tracer("t", "2", attributes={"a": "b"}) is first,
    )


def test_scope_attributes_that_cannot_be_hashed_are_allowed(captured):
    """A list as the value of a scope attribute costs the cache, not the call."""
    provider.get_tracer("t", attributes={"a": [1]}).start_span("s").end()
    assert ["s"] == [span.name for span in captured.spans]


def test_a_decorated_function_is_traced(captured):
    """`@tracer.start_as_current_span` at import, on a function."""

    @provider.get_tracer("t").start_as_current_span("work")
    def work():
        return trace.get_current_span().name

    assert (["work", "work"], ["work", "work"]) == ([work(), work()], [span.name for span in captured.spans])


def test_a_decorated_coroutine_function_is_traced_while_it_runs(captured):
    """The span covers the awaits, and is current in them."""

    @provider.get_tracer("t").start_as_current_span("work")
    async def work():
        await asyncio.sleep(0)
        return trace.get_current_span().name

    assert ("work", ["work"]) == (asyncio.run(work()), [span.name for span in captured.spans])


def test_an_exception_is_recorded_and_passes(captured):
    """As with the SDK's own tracer."""
    with pytest.raises(KeyError), provider.get_tracer("t").start_as_current_span("work"):
        raise KeyError("x")
    span = captured.span("work")
    assert ("ERROR", ["exception"]) == (span.status.status_code.name, [event.name for event in span.events])


def test_decorated_functions_follow_the_process():
    """Decorated at import in the parent, traced in the child."""
    lines = run("""
        import asyncio
        configure()
        tracer = trace.get_tracer("t")
        @tracer.start_as_current_span("function")
        def function(): pass
        @tracer.start_as_current_span("coroutine")
        async def coroutine(): await asyncio.sleep(0)
        def both():
            function()
            asyncio.run(coroutine())
        both()
        reaped([forked(both)])
        otelfork.flush(5)
        os._exit(0)
    """)
    expected = {f"span {what} {who}": 1 for what in ("function", "coroutine") for who in ("parent", "child")}
    assert expected == counted(lines)


def test_the_sampler_of_the_configuration_decides():
    """A sampler that says no: no span is recorded, and the tracer says so."""
    with capture(sampler=ALWAYS_OFF) as telemetry:
        span = provider.get_tracer("t").start_span("s")
        span.end()
        assert (False, ()) == (span.is_recording(), telemetry.spans)


def test_without_telemetry_spans_go_nowhere():
    """After a shutdown a tracer answers with spans that do not record."""
    with bootstrap.replaced():
        span = provider.get_tracer("t").start_span("s")
        assert not span.is_recording()
