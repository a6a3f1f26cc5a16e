"""A configuration with a dirty worker and a control socket, which instruments the server that reads it."""

from opentelemetry.instrumentation.gunicorn import GunicornInstrumentor

dirty_apps = ["gunicorn_dirty:Work"]
dirty_workers = 1
control_socket = "control.sock"
GunicornInstrumentor().instrument()
