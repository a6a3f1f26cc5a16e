"""What a process can see of the place it runs in: host, operating system, its own program, its container, its pod.

Sources: semantic conventions for resources (host, os, process, container, k8s). A file that cannot be read is an attribute
less, never an error. It must not know the SDK.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
from pathlib import Path

from otelfork.settings import Environment
from otelfork.settings.resource import in_kubernetes, kubernetes

Value = str | int
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm32", "i686": "x86", "ppc64le": "ppc64"}
_SYSTEMS = {"SunOS": "solaris", "DragonFly": "dragonflybsd", "HP-UX": "hpux"}
_ID = r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])"
_IN_CGROUP = re.compile(rf"{_ID}(?:\.scope)?\s*$", re.MULTILINE)
# Docker and podman mount these from the container's own folder; containerd mounts them from the pod's sandbox, another id.
_IN_MOUNTS = re.compile(rf"/(?:containers|overlay-containers)/{_ID}/\S*?(?:hostname|resolv\.conf|hosts)\b")
_POD_UID = re.compile(r"/pods/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/")
_NAMESPACE = "var/run/secrets/kubernetes.io/serviceaccount/namespace"


def look_around(environment: Environment, root: Path = Path("/")) -> dict[str, Value]:
    """Return the attributes of host, system, process, container and pod. `root` is another file system's, for tests."""
    container = container_id(root)
    found: dict[str, Value] = {**host(root, container=bool(container)), **system(), **process()}
    if container:
        found["container.id"] = container
    if in_kubernetes(environment):
        found.update(pod(environment, root))
    return found


def host(root: Path, *, container: bool) -> dict[str, Value]:
    """Return name, architecture and, outside containers, where an image's would be everybody's, the machine's id."""
    machine = platform.machine()
    found: dict[str, Value] = {"host.name": socket.gethostname(), "host.arch": _ARCHITECTURES.get(machine, machine)}
    machine_id = "" if container else _text(root / "etc/machine-id").strip()
    if machine_id:
        found["host.id"] = machine_id
    return found


def system() -> dict[str, Value]:
    """Return type and version of the operating system."""
    name = platform.system()
    return {"os.type": _SYSTEMS.get(name, name.lower()), "os.version": platform.release()}


def process() -> dict[str, Value]:
    """Return what names this process and its program. Its arguments are left out: they may hold secrets."""
    return {
        "process.pid": os.getpid(),
        "process.parent_pid": os.getppid(),
        "process.executable.name": os.path.basename(sys.executable),  # noqa: PTH119 - no file is touched
        "process.executable.path": sys.executable,
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": platform.python_version(),
        "process.runtime.description": sys.version.replace("\n", " "),
    }


def container_id(root: Path) -> str:
    """Return the id of the container, told by its control groups (version 1) or its mounts (version 2), or ""."""
    found = _IN_CGROUP.search(_text(root / "proc/self/cgroup")) or _IN_MOUNTS.search(
        _text(root / "proc/self/mountinfo")
    )
    return found.group(1) if found else ""


def pod(environment: Environment, root: Path) -> dict[str, Value]:
    """Return the pod's attributes: those that the manifest passes on, else its namespace and uid as the kubelet mounts them."""
    found: dict[str, Value] = {}
    namespace = _text(root / _NAMESPACE).strip()
    if namespace:
        found["k8s.namespace.name"] = namespace
    uid = _POD_UID.search(_text(root / "proc/self/mountinfo"))
    if uid:
        found["k8s.pod.uid"] = uid.group(1)
    return {**found, **kubernetes(environment)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
