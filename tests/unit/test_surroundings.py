"""What a process sees of its host, container and pod, from files as they are there."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import pytest

from otelfork.resource import surroundings
from otelfork.settings import Environment

ID = "ab" * 32
SANDBOX = "cd" * 32
UID = "0f8b2a3c-1111-2222-3333-444455556666"
DOCKER_V2 = (
    f"610 570 254:1 /docker/volumes/x /data rw - ext4 /dev/vda1 rw\n"
    f"621 570 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n"
)
PODMAN_V2 = f"9 8 0:4 /containers/storage/overlay-containers/{ID}/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n"
CONTAINERD_V2 = (
    f"7 6 8:1 /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{SANDBOX}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
    f"8 6 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
)
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def fake(root: Path, **files: str) -> Path:
    """Make a root folder with the given files; `__` in a name is a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("cgroup", "mounts", "expected"),
    [
        (f"12:memory:/docker/{ID}\n", "", ID),
        (f"0::/system.slice/docker-{ID}.scope\n", "", ID),
        (f"1:name=systemd:/kubepods/burstable/pod{UID}/cri-containerd-{ID}.scope\n", "", ID),
        ("0::/\n", DOCKER_V2, ID),
        ("0::/\n", PODMAN_V2, ID),
        ("0::/\n", CONTAINERD_V2, ""),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "", ""),
    ],
)
def test_the_container_is_told_by_its_control_groups_or_mounts(cgroup: str, mounts: str, expected: str, tmp_path: Path):
    """Version 1 and 2; a pod's sandbox is not taken for the container."""
    root = fake(tmp_path, proc__self__cgroup=cgroup, proc__self__mountinfo=mounts)
    assert expected == surroundings.container_id(root)


def test_a_host_has_an_id_where_it_is_no_container(tmp_path: Path):
    """In a container the file is the image's and the same everywhere."""
    files = {"etc__machine-id": "0123\n"}
    outside = surroundings.look_around(Environment({}), fake(tmp_path / "a", **files))
    inside = surroundings.look_around(
        Environment({}), fake(tmp_path / "b", proc__self__cgroup=f"1:x:/docker/{ID}", **files)
    )
    assert ("0123", None, ID) == (outside["host.id"], inside.get("host.id"), inside["container.id"])


def test_host_system_and_process_are_those_of_here(tmp_path: Path):
    """By the names of the conventions."""
    found = surroundings.look_around(Environment({}), tmp_path)
    actual = [found[name] for name in ("host.name", "os.type", "os.version", "process.pid", "process.parent_pid")]
    assert [socket.gethostname(), platform.system().lower(), platform.release(), os.getpid(), os.getppid()] == actual


def test_a_pod_has_the_fields_of_the_downward_api(tmp_path: Path):
    """Those that the manifest passes on stand over what the kubelet mounts."""
    root = fake(
        tmp_path,
        proc__self__mountinfo=CONTAINERD_V2,
    )
    (root / "var/run/secrets/kubernetes.io/serviceaccount").mkdir(parents=True)
    (root / "var/run/secrets/kubernetes.io/serviceaccount/namespace").write_text("shop\n")
    variables = {**POD, "POD_NAME": "shop-7", "K8S_NODE_NAME": "node-1", "CONTAINER_NAME": "web"}
    found = surroundings.look_around(Environment(variables), root)
    expected = {
        "k8s.namespace.name": "shop",
        "k8s.pod.uid": UID,
        "k8s.pod.name": "shop-7",
        "k8s.node.name": "node-1",
        "k8s.container.name": "web",
    }
    assert expected == {name: value for name, value in found.items() if name.startswith("k8s.")}


def test_outside_a_pod_nothing_is_guessed(tmp_path: Path):
    """NODE_NAME may mean anything there."""
    found = surroundings.look_around(Environment({"NODE_NAME": "x", "POD_NAME": "y"}), tmp_path)
    assert [name for name in found if name.startswith("k8s.")] == []
