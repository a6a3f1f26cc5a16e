"""gunicorn reads this file by itself: `gunicorn` in this folder is all it takes."""

wsgi_app = "app:app"
bind = "127.0.0.1:8000"
workers = 4
worker_class = "uvicorn_worker.UvicornWorker"  # gunicorn's own "asgi" will do as well
preload_app = True  # the application is imported once, in the master, and every worker is forked from it
max_requests = 1000  # workers are recycled; nothing they have recorded is lost
max_requests_jitter = 100
graceful_timeout = 10
