"""The shop for servers that speak WSGI only, such as uWSGI: an adapter around it. The one line stays in app.py.

The adapter (a2wsgi) starts the thread of its event loop at import, so each worker has to import this module
itself: `--lazy-apps`.
"""

from a2wsgi import ASGIMiddleware

import app as traced

app = ASGIMiddleware(traced.app)
