"""What a process runs in, by real paths of cgroups: one row each, as the runtimes write them."""

from __future__ import annotations

import pytest

from capture.kernel.containers import home

ID = "4f5e2c1b8a9d7e6f0c3b2a1d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f"
UID = "8f0e2b3c-1d4a-4c7e-9b2f-6a5d4e3c2b1a"
U_ = UID.replace("-", "_")

#: The contents of /proc/PID/cgroup; runtime, name, pod.
SAMPLES = {
    "docker, version 2, systemd": (f"0::/system.slice/docker-{ID}.scope", "docker", ID[:12], None),
    "docker, version 2, cgroupfs": (f"0::/docker/{ID}", "docker", ID[:12], None),
    "docker, version 1": (f"12:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}", "docker", ID[:12], None),
    "docker, rootless": (
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
        "docker",
        ID[:12],
        None,
    ),
    "docker with an init of its own inside": (
        f"0::/system.slice/docker-{ID}.scope/init.scope",
        "docker",
        ID[:12],
        None,
    ),
    "a service of a systemd inside docker": (
        f"0::/system.slice/docker-{ID}.scope/system.slice/nginx.service",
        "systemd",
        "nginx.service",
        None,
    ),
    "containerd, CRI, burstable, systemd": (
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U_}.slice/cri-containerd-{ID}.scope",
        "containerd",
        ID[:13],
        UID,
    ),
    "containerd, CRI, guaranteed, systemd": (
        f"0::/kubepods.slice/kubepods-pod{U_}.slice/cri-containerd-{ID}.scope",
        "containerd",
        ID[:13],
        UID,
    ),
    "containerd, CRI, besteffort, cgroupfs, version 1": (
        f"11:memory:/kubepods/besteffort/pod{UID}/{ID}",
        "containerd",
        ID[:13],
        UID,
    ),
    "a static pod, whose UID is a hash": (
        f"0::/kubepods/burstable/pod{'0123456789abcdef' * 2}/{ID}",
        "containerd",
        ID[:13],
        "0123456789abcdef" * 2,
    ),
    "kind: a node that is a docker container": (
        (
            f"0::/docker/{'a' * 64}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
            f"kubelet-kubepods-besteffort-pod{U_}.slice/cri-containerd-{ID}.scope"
        ),
        "containerd",
        ID[:13],
        UID,
    ),
    "nerdctl": (f"0::/system.slice/nerdctl-{ID}.scope", "containerd", ID[:12], None),
    "CRI-O, systemd": (
        f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_}.slice/crio-{ID}.scope/container",
        "cri-o",
        ID[:13],
        UID,
    ),
    "CRI-O, cgroupfs": (f"0::/kubepods/burstable/pod{UID}/crio-{ID}", "cri-o", ID[:13], UID),
    "podman, root": (f"0::/machine.slice/libpod-{ID}.scope/container", "podman", ID[:12], None),
    "podman, rootless": (
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
        "podman",
        ID[:12],
        None,
    ),
    "podman, cgroupfs": (f"8:pids:/libpod_parent/libpod-{ID}", "podman", ID[:12], None),
    "podman, split by a unit (a quadlet)": (
        f"0::/system.slice/web.service/libpod-payload-{ID}",
        "podman",
        ID[:12],
        None,
    ),
    "LXC 4": ("0::/lxc.payload.web1", "lxc", "web1", None),
    "LXC 4, deeper": ("0::/lxc.payload.web1/init.scope", "lxc", "web1", None),
    "LXC 3": ("4:cpuset:/lxc/web1", "lxc", "web1", None),
    "nspawn": ("0::/machine.slice/systemd-nspawn@web.service/payload", "nspawn", "web", None),
    "machined": (r"0::/machine.slice/machine-my\x2dbox.scope", "machine", "my-box", None),
    "a unit": ("0::/system.slice/nginx.service", "systemd", "nginx.service", None),
    "a template's unit": (
        "0::/system.slice/system-getty.slice/getty@tty1.service",
        "systemd",
        "getty@tty1.service",
        None,
    ),
    "a unit, version 1": (
        "2:cpu:/\n1:name=systemd:/system.slice/redis.service\n0::/",
        "systemd",
        "redis.service",
        None,
    ),
    "ECS": (f"9:cpu:/ecs/0123456789abcdef0123456789abcdef/{ID}", "ecs", ID[:12], None),
    "seen from a cgroup namespace beside it": (f"0::/../docker-{ID}.scope", "docker", ID[:12], None),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_path_names_it(name: str) -> None:
    text, runtime, short, pod = SAMPLES[name]
    found = home(text + "\n")
    assert found is not None
    assert (found.runtime, found.name, found.pod) == (runtime, short, pod)
    assert found.id.startswith(short)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/",
        "0::/user.slice/user-1000.slice/session-3.scope",
        "0::/user.slice/user-1000.slice/user@1000.service",
        "0::/init.scope",
        f"0::/{ID}",
        "no such line",
        "0::/docker/abc",
    ],
)
def test_other_paths_name_nothing(text: str) -> None:
    assert home(text) is None
