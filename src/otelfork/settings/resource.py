"""What the environment says about the service and the place it runs in.

Standard variables first: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. Below them the variables that guides and Kubernetes
manifests use; each is listed, none is guessed from its prefix.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote

from otelfork.settings.environment import Environment

_logger = logging.getLogger("otelfork")
_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
_SERVICE = {
    "OTEL_SERVICE_NAMESPACE": "service.namespace",
    "OTEL_SERVICE_VERSION": "service.version",
    "SERVICE_BUILD_GIT_HASH": "service.build.git_hash",
    "SERVICE_BUILD_GIT_BRANCH": "service.build.git_branch",
    "SERVICE_BUILD_DEPLOYMENT_USER": "service.build.deployment.user",
    "SERVICE_BUILD_DEPLOYMENT_TRIGGER": "service.build.deployment.trigger",
    "SERVICE_OWNER_NAME": "service.owner.name",
    "SERVICE_OWNER_CONTACT": "service.owner.contact",
}
# The names that OpenTelemetry's operator and most manifests give to fields of the downward API.
_KUBERNETES = {
    "k8s.pod.name": ("K8S_POD_NAME", "OTEL_RESOURCE_ATTRIBUTES_POD_NAME", "POD_NAME"),
    "k8s.pod.uid": ("K8S_POD_UID", "OTEL_RESOURCE_ATTRIBUTES_POD_UID", "POD_UID"),
    "k8s.pod.ip": ("K8S_POD_IP", "POD_IP"),
    "k8s.namespace.name": ("K8S_NAMESPACE_NAME", "K8S_NAMESPACE", "POD_NAMESPACE"),
    "k8s.node.name": ("K8S_NODE_NAME", "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME", "NODE_NAME"),
    "k8s.container.name": ("K8S_CONTAINER_NAME", "CONTAINER_NAME"),
    "k8s.deployment.name": ("K8S_DEPLOYMENT_NAME", "DEPLOYMENT_NAME"),
    "k8s.cluster.name": ("K8S_CLUSTER_NAME", "CLUSTER_NAME"),
}
_said: set[str] = set()


def in_kubernetes(environment: Environment) -> bool:
    """Tell whether this is a pod: the kubelet sets the API server's address in every container."""
    return environment.is_set("KUBERNETES_SERVICE_HOST")


def kubernetes(environment: Environment) -> dict[str, str]:
    """Return the fields of the downward API that the manifest passes on, by the usual names; nothing outside a pod."""
    if not in_kubernetes(environment):
        return {}
    found = {attribute: environment.text(*names) for attribute, names in _KUBERNETES.items()}
    return {attribute: value for attribute, value in found.items() if value}


def service(environment: Environment) -> dict[str, str]:
    """Return the attributes of the service, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES over the others."""
    found = {attribute: environment.text(name) for name, attribute in _SERVICE.items()}
    attributes = {attribute: value for attribute, value in found.items() if value}
    attributes.update(parse(environment.text(_ATTRIBUTES)))
    name = environment.text("OTEL_SERVICE_NAME")
    return {**attributes, "service.name": name} if name else attributes


def parse(text: str) -> dict[str, str]:
    """Read `key=value,key=value`, also as guides print it: over several lines, with backslashes at their ends, in quotes.

    Values are percent-decoded (specification: resource SDK, "Specifying resource information via an environment variable").
    A piece that is no pair is told once and left out, as the SDK does.
    """
    text = re.sub(r"\\?\s*\n", " ", text).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    attributes: dict[str, str] = {}
    for piece in filter(None, (part.strip(" \t\r\\") for part in text.split(","))):
        key, equals, value = piece.partition("=")
        if equals and key.strip():
            attributes[key.strip()] = unquote(value.strip())
        elif piece not in _said:
            _said.add(piece)
            _logger.warning(
                "%s: %r is left out: expected key=value; a comma in a value is written %%2C", _ATTRIBUTES, piece
            )
    return attributes
