"""The text of the page, in the format that is asked for."""

from __future__ import annotations

import gzip

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from tests.unit.scraping import OPENMETRICS, converted

from otelfork.prometheus import exposition

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def counted(meter):
    """Count one thing, under many labels."""
    for number in range(100):
        meter.create_counter("c").add(1, {"number": number})


@pytest.mark.parametrize(
    ("accept", "expected", "end"),
    [
        ("", "text/plain; version=0.0.4", False),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4", False),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0", True),
        (PROMETHEUS_2_42, "application/openmetrics-text; version=1.0.0", True),
    ],
)
def test_the_format_is_negotiated(accept, expected, end):
    """OpenMetrics for who asks for it, else the old text format."""
    headers, body = exposition.render(converted(counted), {}, accept=accept)
    assert (True, end) == (headers["Content-Type"].startswith(expected), body.endswith(b"# EOF\n"))


@pytest.mark.parametrize("accept", [OPENMETRICS, f"{OPENMETRICS};escaping=underscores"])
def test_the_text_is_prometheus_clients(accept):
    """What is left out of its encoder changes nothing."""
    families = converted(counted)
    registry = CollectorRegistry()
    registry.register(exposition._Page(families, {"a_b": "c"}))
    encode, _ = choose_encoder(accept)
    assert encode(registry) == exposition.render(families, {"a_b": "c"}, accept=accept)[1]


def test_the_target_is_described():
    """The resource is the info metric `target_info`."""
    _, body = exposition.render({}, {"service_name": "shop"})
    assert b'target_info{service_name="shop"} 1.0' in body


def test_a_page_is_compressed_for_who_accepts_it():
    """The body is the same; its length is told."""
    families = converted(counted)
    _, plain = exposition.render(families, {})
    headers, packed = exposition.render(families, {}, accept_encoding="deflate, gzip;q=1.0")
    assert (plain, "gzip", str(len(packed))) == (
        gzip.decompress(packed),
        headers["Content-Encoding"],
        headers["Content-Length"],
    )
