"""Providers, tracers, instruments and loggers that outlive a fork: each call reaches the current generation.

They are handed out once, often while a module is imported in a preloading master, and used in every child. They hold names
and descriptions only; what records belongs to the generation.
"""

from otelfork.proxies.logs import ProxyLoggerProvider
from otelfork.proxies.metrics import ProxyHistogram, ProxyMeterProvider
from otelfork.proxies.tracing import ProxyTracer, ProxyTracerProvider

__all__ = ["ProxyHistogram", "ProxyLoggerProvider", "ProxyMeterProvider", "ProxyTracer", "ProxyTracerProvider"]
