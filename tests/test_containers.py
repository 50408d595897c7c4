"""What a process runs in, by real paths of cgroups: one row each, as the runtimes write them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from alone import alone

from capture.kernel import container_names
from capture.kernel.container_names import Kept
from capture.kernel.containers import Home, home

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


# -- what people named them ------------------------------------------------------------------------------------------

OTHER = "b" * 64
TASK = "io.containerd.runtime.v2.task"
SANDBOX = {
    "io.kubernetes.cri.container-type": "sandbox",
    "io.kubernetes.cri.sandbox-id": ID,
    "io.kubernetes.cri.sandbox-name": "redis-0",
    "io.kubernetes.cri.sandbox-namespace": "default",
}
STORED = [{"id": OTHER, "names": ["other"]}, {"id": ID, "names": ["redis-cache"], "image": "", "layer": "d0"}]
CONFIG = {"StreamConfig": {}, "ID": ID, "Config": {"Labels": {"Name": "/label"}}, "Name": "/web", "Driver": "overlay2"}

#: Runtime, file, what a runtime wrote there, and the name.
FILES: dict[str, tuple[str, str, Any, str]] = {
    "docker": ("docker", f"var/lib/docker/containers/{ID}/config.v2.json", CONFIG, "web"),
    "docker, a snap": (
        "docker",
        f"var/snap/docker/common/var-lib-docker/containers/{ID}/config.v2.json",
        CONFIG,
        "web",
    ),
    "podman": ("podman", "var/lib/containers/storage/overlay-containers/containers.json", STORED, "redis-cache"),
    "podman, vfs": ("podman", "var/lib/containers/storage/vfs-containers/containers.json", STORED, "redis-cache"),
    "podman, a transient store": (
        "podman",
        "run/containers/storage/overlay-containers/volatile-containers.json",
        STORED,
        "redis-cache",
    ),
    "containerd, CRI": ("containerd", f"run/containerd/{TASK}/k8s.io/{ID}/config.json", SANDBOX, "default/redis-0"),
    "containerd, k3s": ("containerd", f"run/k3s/containerd/{TASK}/k8s.io/{ID}/config.json", SANDBOX, "default/redis-0"),
    "nerdctl": ("containerd", f"run/containerd/{TASK}/default/{ID}/config.json", {"nerdctl/name": "web"}, "web"),
    "CRI-O": (
        "cri-o",
        f"run/containers/storage/overlay-containers/{ID}/userdata/config.json",
        {"io.kubernetes.pod.name": "redis-0", "io.kubernetes.pod.namespace": "default"},
        "default/redis-0",
    ),
}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system, the files of runtimes in it, of which nothing is known yet."""
    monkeypatch.setattr(container_names, "_ROOT", tmp_path)
    monkeypatch.setattr(container_names, "_KNOWN", {})
    return tmp_path


def keep(host: Path, name: str, document: object) -> Path:
    path = host / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"annotations": document} if name.endswith("/config.json") else document))
    return path


def names(runtime: str, *ids: str) -> dict[str, str]:
    return container_names.names([Home(runtime, one, one[:12]) for one in ids or (ID,)])


@pytest.mark.parametrize("sample", FILES)
def test_the_name_is_where_the_runtime_keeps_it(sample: str, host: Path) -> None:
    runtime, path, document, name = FILES[sample]
    keep(host, path, document)
    assert names(runtime, ID, "a" * 64) == {ID: name}


def test_each_runtime_has_a_sample() -> None:
    assert {runtime for runtime, *_ in FILES.values()} == {
        one for kept in container_names.KEPT for one in kept.runtimes
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "null",
        "[]",
        '{"Name": null}',
        '{"Name": 7}',
        '{"Name": ["/x"]}',
        '{"Name": ""}',
        "\xff",
        f'{{"Name": "/x{" " * (5 << 20)}"}}',
    ],
    ids=lambda text: text[:16],
)
def test_a_file_that_is_no_such_file_names_nothing(text: str, host: Path) -> None:
    keep(host, FILES["docker"][1], None).write_text(text, encoding="latin-1")
    assert names("docker") == {}


def test_a_name_may_be_anything(host: Path) -> None:
    keep(host, FILES["docker"][1], {"Name": "/\x1b[2J\ud800" + "x" * 5000})
    [name] = names("docker").values()
    assert name.startswith("\x1b[2J")
    assert len(name) <= 330


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_nothing_but_ordinary_files_is_read(kind: str, host: Path) -> None:
    path = keep(host, FILES["docker"][1], CONFIG)
    if kind == "link":
        path.rename(host / "elsewhere")
        path.symlink_to(host / "elsewhere")
    else:
        path.unlink()
        os.mkfifo(path) if kind == "fifo" else path.mkdir()
    assert names("docker") == {}


def test_an_id_is_no_path(host: Path) -> None:
    keep(host, "var/lib/docker/elsewhere/config.v2.json", CONFIG)
    (host / "var/lib/docker/containers").mkdir()
    assert names("docker", "../elsewhere") == {}


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_file_of_somebody_elses_names_nothing(host: Path) -> None:
    os.chown(keep(host, FILES["docker"][1], CONFIG), 65534, 65534)
    assert names("docker") == {}


def who(_document: object, _id: str) -> str:
    return f"{os.getpid()} " + next(x for x in Path("/proc/self/status").read_text().splitlines() if "CapPrm" in x)


def made_sense_of(host: Path) -> tuple[int, str]:
    container_names._ROOT = host
    container_names.KEPT = (Kept(("docker",), container_names.KEPT[0].files, who),)
    return os.getpid(), names("docker")[ID]


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_child_without_privilege_makes_sense_of_it(host: Path) -> None:
    keep(host, FILES["docker"][1], CONFIG)
    pid, told = alone(made_sense_of, host)
    child, _, capabilities = told.partition(" ")
    assert int(child) != pid
    assert int(capabilities.split()[1], 16) == 0
