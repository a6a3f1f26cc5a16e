"""What to record and where to send it: the frozen facts of the standard `OTEL_*` and our `OTELFORK_*` variables.

It knows names and values only: no SDK, no exporter. Values the SDK reads by itself (limits, resource, certificates)
are still checked here, because a bad one has to be told in `configure()` and not in a log line of a worker.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urlsplit

from otelfork.settings import propagators
from otelfork.settings.delivery import DeliverySettings
from otelfork.settings.environment import Environment, SettingsError

_logger = logging.getLogger("otelfork")
SIGNALS = ("traces", "metrics", "logs")
PROTOCOLS = ("grpc", "http/protobuf")
STOCK_SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
# Spellings that guides print; the SDK would take them for no sampler at all, and keep every trace.
_MISSPELT = {"parentbased_trace_id_ratio": "parentbased_traceidratio", "trace_id_ratio": "traceidratio"}
_said: set[str] = set()
_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
)
_ENDPOINTS = tuple(
    "OTEL_EXPORTER_OTLP_" + part for part in ("ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT", "LOGS_ENDPOINT")
)
_TIMEOUTS = tuple(
    "OTEL_EXPORTER_OTLP_" + part for part in ("TIMEOUT", "TRACES_TIMEOUT", "METRICS_TIMEOUT", "LOGS_TIMEOUT")
)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Bounds and pace of one signal's queue, as the SDK's batch processors define them."""

    queue_size: int
    batch_size: int
    delay: float
    """Seconds between two exports of a queue that is not full."""
    timeout: float
    """Seconds a flush of this queue may take."""

    @classmethod
    def read(cls, environment: Environment, prefix: str, *, delay: int) -> BatchSettings:
        """Read `OTEL_BSP_*` or `OTEL_BLRP_*` (specification: SDK environment variables, batch processors)."""
        queue_size = environment.integer(f"{prefix}_MAX_QUEUE_SIZE", 2048, minimum=1)
        default_batch = min(512, queue_size)
        name = f"{prefix}_MAX_EXPORT_BATCH_SIZE"
        return cls(
            queue_size=queue_size,
            batch_size=environment.integer(name, default_batch, minimum=1, maximum=queue_size),
            delay=environment.number(f"{prefix}_SCHEDULE_DELAY", delay, minimum=1) / 1000,
            timeout=_timeout(environment, f"{prefix}_EXPORT_TIMEOUT"),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the bootstrap decides from. Times are seconds."""

    disabled: bool
    config_file: str
    """The declarative configuration that decides in place of everything below, or ""."""
    exporters: dict[str, tuple[str, ...]]
    """Exporter names by signal; `none` is an empty tuple."""
    protocols: dict[str, str]
    """OTLP protocol by signal."""
    sampler: str
    id_generator: str
    detectors: tuple[str, ...]
    spans: BatchSettings
    logs: BatchSettings
    metric_interval: float
    metric_timeout: float
    temporality: str
    histogram_aggregation: str
    exemplar_filter: str
    internal_metrics: bool
    exit_timeout: float
    signals: bool
    delivery: DeliverySettings

    @classmethod
    def read(cls, environment: Environment | None = None) -> Settings:
        """Read and check the environment.

        Raises:
            SettingsError: a variable cannot be used; it names the variable, the value and what was expected.
        """
        env = environment or Environment()
        _check(env)
        return cls(
            disabled=env.boolean("OTEL_SDK_DISABLED"),
            config_file=env.text("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"),
            exporters={signal: _exporters(env, signal) for signal in SIGNALS},
            protocols={signal: _protocol(env, signal) for signal in SIGNALS},
            sampler=_sampler(env),
            id_generator=env.text("OTEL_PYTHON_ID_GENERATOR", default="random"),
            detectors=env.names("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", default=("otel",)),
            spans=BatchSettings.read(env, "OTEL_BSP", delay=5000),
            logs=BatchSettings.read(env, "OTEL_BLRP", delay=1000),
            metric_interval=env.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000, minimum=1) / 1000,
            metric_timeout=_timeout(env, "OTEL_METRIC_EXPORT_TIMEOUT"),
            temporality=env.choice(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                choices=("cumulative", "delta", "lowmemory"),
                default="cumulative",
            ),
            histogram_aggregation=env.choice(
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                choices=("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
                default="explicit_bucket_histogram",
            ),
            exemplar_filter=env.choice(
                "OTEL_METRICS_EXEMPLAR_FILTER",
                choices=("trace_based", "always_on", "always_off"),
                default="trace_based",
            ),
            internal_metrics=env.boolean("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"),
            exit_timeout=env.number("OTELFORK_EXIT_TIMEOUT", 3.0),
            signals=env.boolean("OTELFORK_SIGNALS", default=True),
            delivery=DeliverySettings.read(env),
        )

    def without(self, signals: Iterable[str]) -> Settings:
        """Return these settings with no exporter for the given signals: the program brings its own."""
        gone = frozenset(signals)
        kept = {signal: () if signal in gone else names for signal, names in self.exporters.items()}
        return replace(self, exporters=kept)


def _timeout(env: Environment, name: str) -> float:
    """Return seconds of a variable in milliseconds; 0 is no limit (specification: configuration data model, timeouts)."""
    return env.number(name, 30_000) / 1000 or math.inf


def _check(env: Environment) -> None:
    """Check what the SDK reads by itself and would only log about."""
    propagators.check()
    for name in _LIMITS:
        env.integer(name, 0)
    for name in _TIMEOUTS:
        env.number(name, 10)
    for name in _ENDPOINTS:
        _endpoint(env, name)
    for signal in ("", "TRACES_", "METRICS_", "LOGS_"):
        _headers(env, f"OTEL_EXPORTER_OTLP_{signal}HEADERS")
        env.choice(f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION", choices=("none", "gzip", "deflate"), default="none")
        for part in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            env.file(f"OTEL_EXPORTER_OTLP_{signal}{part}")


def _headers(env: Environment, name: str) -> None:
    if any("=" not in pair for pair in env.names(name)):
        # The value is not told: it holds tokens.
        raise SettingsError(name, "(hidden)", "name=value,name=value, a comma in a value written %2C")


def _endpoint(env: Environment, name: str) -> None:
    value = env.text(name)
    if not value:
        return
    parts = _address(value)
    try:
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.scheme not in {"", "http", "https", "unix"}:
        raise SettingsError(name, value, "an address such as http://localhost:4318")


def _address(value: str) -> SplitResult:
    """Split an address; gRPC knows addresses without a scheme."""
    return urlsplit(value if "://" in value else f"//{value}")


def _exporters(env: Environment, signal: str) -> tuple[str, ...]:
    """Return the exporters of a signal: named, or OTLP where an endpoint is set, or the console."""
    name = f"OTEL_{signal.upper()}_EXPORTER"
    names = tuple(value.lower() for value in env.names(name))
    if not names:
        otlp = env.is_set("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        if otlp or env.is_set(*_ENDPOINTS):
            return ("otlp",)
        return ("console",)
    if "none" in names:
        if len(names) > 1:
            raise SettingsError(name, env.text(name), "either none or a list of exporters, not both")
        return ()
    return names


def _protocol(env: Environment, signal: str) -> str:
    """Return the OTLP protocol: as set, else told from the endpoint's port (4318 is HTTP), else gRPC."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    chosen = env.choice(own, "OTEL_EXPORTER_OTLP_PROTOCOL", choices=PROTOCOLS, default="")
    if chosen:
        return chosen
    endpoint = env.text(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint and _address(endpoint).port == 4318:
        return "http/protobuf"
    return "grpc"


def _sampler(env: Environment) -> str:
    """Return the sampler's name; the ratio of a ratio sampler is checked, the SDK would silently take 1.0."""
    given = env.text("OTEL_TRACES_SAMPLER", default="parentbased_always_on")
    name = _MISSPELT.get(given.lower(), given.lower())
    if given.lower() in _MISSPELT and given not in _said:
        _said.add(given)
        _logger.warning("OTEL_TRACES_SAMPLER=%s is understood as %s, the standard's spelling", given, name)
    if name in {"traceidratio", "parentbased_traceidratio"}:
        env.number("OTEL_TRACES_SAMPLER_ARG", 1.0, maximum=1.0)
    return name if name in STOCK_SAMPLERS else given
