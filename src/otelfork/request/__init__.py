"""One request and its telemetry, the same for WSGI and ASGI."""
