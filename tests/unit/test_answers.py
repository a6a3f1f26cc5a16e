"""What a collector answers is read as it was meant, and what makes no sense is no answer."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otelfork.delivery.outcome import Outcome
from otelfork.exporters import answers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("-1", None), ("soon", None), ("inf", None), (None, None)],
)
def test_retry_after_in_seconds(value, seconds):
    """A number of seconds counts, nonsense does not."""
    result = Outcome()
    answers.note_retry_after(result, value)
    assert seconds == result.retry_after


def test_retry_after_as_a_date():
    """A date is so many seconds from now."""
    result = Outcome()
    answers.note_retry_after(result, formatdate(time.time() + 100, usegmt=True))
    assert 95 < (result.retry_after or 0) <= 100


def retry_info():
    """Return a RetryInfo of two and a half seconds."""
    made = RetryInfo()
    made.retry_delay.seconds, made.retry_delay.nanos = 2, 500_000_000
    return made


def test_retry_info_of_grpc():
    """In a trailer of its own."""
    result = Outcome()
    answers.note_retry_info(result, retry_info().SerializeToString())
    assert result.retry_after == 2.5


def test_retry_info_in_the_status_of_grpc():
    """Where servers put it by the standard."""
    detail = AnyMessage()
    detail.Pack(retry_info())
    result = Outcome()
    answers.note_status_details(result, Status(code=14, details=[detail]).SerializeToString())
    assert result.retry_after == 2.5


@pytest.mark.parametrize(
    ("response", "field"),
    [
        (ExportTraceServiceResponse, "rejected_spans"),
        (ExportLogsServiceResponse, "rejected_log_records"),
        (ExportMetricsServiceResponse, "rejected_data_points"),
    ],
)
def test_partial_success(response, field):
    """The three responses tell it in the same fields."""
    made = response()
    setattr(made.partial_success, field, 300)
    made.partial_success.error_message = "zu alt: ä"
    result = Outcome()
    answers.note_body(result, "application/x-protobuf", made.SerializeToString())
    assert (300, "zu alt: ä") == (result.rejected, result.message)


@pytest.mark.parametrize(
    "body", [b"", b"\x0a", b"\x0a\x7f", b"\x0b\x01", b"\x08\x01", b"\xff" * 20, b"\x0a\x02\x12\x05"]
)
def test_a_broken_answer_is_no_answer(body):
    """Whatever the bytes are, nothing is raised and nothing is counted."""
    result = Outcome()
    answers.note_body(result, "application/x-protobuf", body)
    answers.note_retry_info(result, body)
    answers.note_status_details(result, body)
    assert result.rejected == 0


def test_another_media_type_is_not_read():
    """Zipkin and Jaeger answer otherwise."""
    result = Outcome()
    answers.note_body(result, "application/json", b"\x0a\x02\x08\x05")
    assert result.rejected == 0
