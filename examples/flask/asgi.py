"""The shop for servers that speak ASGI only, such as uvicorn: an adapter inside, the one line outside."""

from a2wsgi import WSGIMiddleware

from app import shop
from otelfork import OtelMiddleware

app = OtelMiddleware(WSGIMiddleware(shop))
