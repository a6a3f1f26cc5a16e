"""Django's ASGI application, which rejects the lifespan: under uvicorn it gets neither a shutdown message nor atexit."""

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from leaving_wsgi import begun, counter, tracer

from otelfork import OtelMiddleware


def item(request, number):
    """Do a bit of work and answer with the pid."""
    begun(request.headers.get("traceparent", "-"), request.path)
    with tracer.start_as_current_span("work"):
        counter.add(1)
    return HttpResponse("done\n", headers={"x-pid": str(os.getpid())})


urlpatterns = [path("items/<int:number>", item)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="test", MIDDLEWARE=[])
django.setup()
app = OtelMiddleware(get_asgi_application())
