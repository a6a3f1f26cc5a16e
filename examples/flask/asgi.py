"""The shop for servers that speak ASGI only, such as uvicorn: an adapter inside, the one line outside.

Outside, because the last chance to send what a uvicorn worker holds is the shutdown message of ASGI's lifespan,
which the WSGI side of the adapter never sees.
"""

from a2wsgi import WSGIMiddleware

from app import shop
from otelfork import OtelMiddleware

app = OtelMiddleware(WSGIMiddleware(shop))
