"""The logger provider and loggers that follow the process."""

from __future__ import annotations

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk import _logs as sdk

from otelfork import bootstrap
from otelfork.proxies import ProxyLoggerProvider

provider = bootstrap._bootstrap.logger_provider


def test_the_provider_is_one_of_the_sdk():
    """Applications ask with isinstance."""
    assert isinstance(provider, sdk.LoggerProvider)


def test_every_public_name_of_the_sdks_provider_is_answered_by_ours():
    """A later SDK with another public method must not find half an object."""
    ours = {name for name in vars(ProxyLoggerProvider) if not name.startswith("_")}
    assert set() == {name for name in vars(sdk.LoggerProvider) if not name.startswith("_")} - ours


def test_a_record_arrives_with_scope_and_resource(captured):
    """What a logger emits carries the logger's name and this process's resource."""
    provider.get_logger("l", "1.2").emit(LogRecord(body="b", severity_number=SeverityNumber.WARN))
    record = captured.logs[0]
    assert ("b", "l", "1.2", "python") == (
        record.log_record.body,
        record.instrumentation_scope.name,
        record.instrumentation_scope.version,
        record.resource.attributes["telemetry.sdk.language"],
    )


def test_a_logger_is_enabled_while_there_is_telemetry(captured):
    """Instrumentations ask before they build a record."""
    assert provider.get_logger("l").enabled()


def test_the_resource_is_this_processs(captured):
    """As the SDK's provider answers."""
    assert "service.instance.id" in provider.resource.attributes


def test_the_provider_flushes_and_shuts_down(captured):
    """What is emitted after a shutdown goes nowhere."""
    flushed = provider.force_flush(1000)
    provider.shutdown()
    provider.get_logger("l").emit(LogRecord(body="late"))
    assert (True, []) == (flushed, list(captured.logs))
