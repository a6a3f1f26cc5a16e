"""The table on the terminal, the JSON file and the plot."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import prototype
from benchmarks.figures import Figure, Samples, quartiles
from benchmarks.variants import VARIANTS

_PACKAGES = (
    "otelfork", "opentelemetry-sdk", "opentelemetry-instrumentation-wsgi", "opentelemetry-instrumentation-asgi",
    "prometheus-client", "protobuf", "gunicorn", "uvicorn", "ddtrace", "logfire", "sentry-sdk",
)  # fmt: skip


def show(figures: Sequence[Figure], samples: Samples, starts: Mapping[str, Sequence[float]], console: Console) -> None:
    """Print what was measured."""
    _show_costs(samples, console)
    beside = prototype.table(samples, {variant.name: variant.label for variant in VARIANTS.values()})
    if beside.row_count:
        console.print(beside)
    _show_figures(figures, console)
    if starts:
        table = Table("start-up", "median", "quartiles", title_justify="left")
        for name, values in starts.items():
            low, high = quartiles(values)
            table.add_row(name, f"{statistics.median(values):.2f}", f"{low:.2f}-{high:.2f}")
        console.print(table)


def _show_figures(figures: Sequence[Figure], console: Console) -> None:
    table = Table(title="otelfork beside a peer (ratios within one round)", title_justify="left")
    for name in ("", "beside", "otelfork", "peer", "ratio", "quartiles", "target", ""):
        table.add_column(name, justify="left" if name in {"", "beside"} else "right")
    group = ""
    for figure in figures:
        colour = {"met": "green", "missed": "red"}.get(figure.verdict, "")
        table.add_row(
            figure.group if figure.group != group else "",
            figure.name,
            f"{figure.ours:.1f}",
            f"{figure.peer:.1f}",
            f"{figure.ratio:.3f}",
            f"{figure.low:.3f}-{figure.high:.3f}",
            "" if figure.target is None else f"<= {figure.target}",
            f"[{colour}]{figure.verdict}[/]" if colour else "",
        )
        group = figure.group
    if figures:
        console.print(table)


def _show_costs(samples: Samples, console: Console) -> None:
    table = Table(title="CPU microseconds a request, over the bare application", title_justify="left")
    for name in ("measure", "interface", "requests", "variant", "median", "quartiles"):
        table.add_column(name, justify="right" if name in {"median", "quartiles"} else "left")
    for (measure, interface, phase, variant), values in samples.items():
        bare = samples.get((measure, interface, phase, "bare"))
        if measure not in {"thread", "process", "server"} or variant == "bare" or not bare:
            continue
        over = [value - without for value, without in zip(values, bare, strict=True)]
        low, high = quartiles(over)
        label = VARIANTS[variant].label
        table.add_row(measure, interface, phase, label, f"{statistics.median(over):.1f}", f"{low:.1f}-{high:.1f}")
    if table.row_count:
        console.print(table)


def write(
    directory: Path,
    *,
    figures: Sequence[Figure],
    samples: Samples,
    starts: Mapping[str, Sequence[float]],
    about: Mapping[str, Any],
) -> None:
    """Write `benchmark.json` and, where matplotlib is installed, `benchmark.png`."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
        },
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        **about,
        "figures": [figure.as_dict() for figure in figures],
        "start": {name: [round(value, 3) for value in values] for name, values in starts.items()},
        "samples": {" ".join(key): [round(value, 2) for value in values] for key, values in samples.items()},
    }
    (directory / "benchmark.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    try:
        import matplotlib as mpl
    except ImportError:
        return
    mpl.use("agg")
    _plot(samples, directory / "benchmark.png")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _plot(samples: Samples, path: Path) -> None:
    from matplotlib import pyplot

    bars = {interface: _bars(samples, interface) for interface in ("wsgi", "asgi")}
    if not all(bars.values()):
        return
    plot, axes = pyplot.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    for axis, (interface, costs) in zip(axes, bars.items(), strict=True):
        labels = [VARIANTS[name].label for name, _, _ in costs]
        medians = [median for _, median, _ in costs]
        spans = [[median - low for _, median, (low, _) in costs], [high - median for _, median, (_, high) in costs]]
        colours = ["#1b7837" if name == "otelfork" else "#b0b0b0" for name, _, _ in costs]
        drawn = axis.barh(labels, medians, xerr=spans, color=colours, ecolor="#606060", capsize=2)
        axis.bar_label(drawn, fmt="%.0f", padding=4)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_title(interface.upper(), loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    plot.supxlabel(
        "CPU microseconds a request over the bare application, OTLP encoding and sending included", fontsize=10
    )
    plot.savefig(path, dpi=110)
    pyplot.close(plot)


def _bars(samples: Samples, interface: str) -> list[tuple[str, float, tuple[float, float]]]:
    """Return (variant, median, quartiles) of a sampled request, encoding and sending included; the cheapest first."""
    bare = samples.get(("process", interface, "traceparent", "bare"), ())
    bars = []
    for name in ("otelfork", "prometheus", "sdk", "contrib-one", "contrib", "ddtrace", "logfire", "sentry"):
        values = samples.get(("process", interface, "traceparent", name))
        if values:
            over = [value - without for value, without in zip(values, bare, strict=True)]
            bars.append((name, statistics.median(over), quartiles(over)))
    return sorted(bars, key=lambda bar: bar[1])
