"""The application of a whole server: gunicorn or uvicorn imports `wsgi` or `asgi`; BENCH_VARIANT chooses the variant."""

from __future__ import annotations

import os
from typing import Any

from benchmarks import applications
from benchmarks.variants import VARIANTS


def __getattr__(name: str) -> Any:
    """Build the application that is asked for, once."""
    if name not in {"wsgi", "asgi"}:
        raise AttributeError(name)
    built, _ = VARIANTS[os.environ["BENCH_VARIANT"]].build(getattr(applications, name), name)
    globals()[name] = built
    return built
