"""The shop for servers that speak WSGI only, such as uWSGI: an adapter inside, the one line outside.

The adapter (a2wsgi) starts the thread of its event loop at import, so each worker has to import this module
itself: `--lazy-apps`.
"""

from a2wsgi import ASGIMiddleware

from app import shop
from otelfork import OtelMiddleware

app = OtelMiddleware(ASGIMiddleware(shop))
