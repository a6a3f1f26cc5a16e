"""Decodes what is sent to Jaeger with the classes that Thrift's compiler made of jaeger.thrift.

They are those of opentelemetry-exporter-jaeger-thrift 1.21.0, whose own code does not import beside a current SDK: only the
generated file is loaded.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer


def _generated() -> Any:
    where = metadata.distribution("opentelemetry-exporter-jaeger-thrift").locate_file(
        "opentelemetry/exporter/jaeger/thrift/gen/jaeger/ttypes.py"
    )
    spec = importlib.util.spec_from_file_location("jaeger_ttypes", str(where))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ttypes = _generated()


def decode(body: bytes) -> Any:
    """Return the batch in a request's body; all of the body has to belong to it."""
    buffer = TMemoryBuffer(body)
    batch = ttypes.Batch()
    batch.read(TBinaryProtocol(buffer))
    batch.validate()
    assert buffer.read(1) == b""
    return batch


def value(tag: Any) -> Any:
    """Return the one value of a tag."""
    name = ("vStr", "vDouble", "vBool", "vLong", "vBinary")[tag.vType]
    set_fields = [
        field for field in ("vStr", "vDouble", "vBool", "vLong", "vBinary") if getattr(tag, field) is not None
    ]
    assert set_fields == [name]
    return getattr(tag, name)


def tags(found: Any) -> dict[str, Any]:
    """Return tags as a dict."""
    return {tag.key: value(tag) for tag in found or ()}


def ids(span: Any) -> tuple[str, str]:
    """Return a span's trace and span id in hex."""
    mask = (1 << 64) - 1
    return f"{span.traceIdHigh & mask:016x}{span.traceIdLow & mask:016x}", f"{span.spanId & mask:016x}"
