"""What a process runs in, by its cgroup's path: the container and its runtime, the pod, the unit.

No daemon is asked: runtimes and systemd write it into the path (cgroups(7)), in version 1 and 2 alike. Where a path
names several, one inside the other, the innermost counts. ``PATHS`` has a row for each way in which one is written.
"""

from __future__ import annotations

import re

from analysis.records import NamedTuple

#: Digits of an ID that people see: ``docker ps`` and ``podman ps`` show the first so many, ``crictl ps`` the second.
_SHORT, _SHORT_CRI = 12, 13


class Home(NamedTuple):
    """What a process runs in. ``runtime`` is what made it, ``id`` its name there, in full; ``pod`` the pod's UID.

    ``name`` is what to call it: short, as the runtime's own list of containers shows it.
    """

    runtime: str
    id: str
    name: str
    pod: str | None = None


class Path(NamedTuple):
    """One way of writing it. *pattern* has a group ``id``, of which *length* digits are shown; None: it is a name."""

    runtime: str
    pattern: re.Pattern[str]
    length: int | None = _SHORT


_HASH = r"(?P<id>[0-9a-f]{64})"


def _path(runtime: str, pattern: str, length: int | None = _SHORT) -> Path:
    return Path(runtime, re.compile(pattern), length)


#: Each with its source. The first that matches at the innermost place counts.
PATHS = (
    # systemd drivers write RUNTIME-ID.scope: runc and crun, libcontainer/cgroups/systemd (getUnitName)
    _path("docker", rf"/docker-{_HASH}\.scope"),  # moby, daemon/daemon_unix.go: scope prefix "docker"
    _path("containerd", rf"/cri-containerd-{_HASH}\.scope", _SHORT_CRI),  # containerd, internal/cri: getCgroupsPath
    _path("containerd", rf"/nerdctl-{_HASH}\.scope"),
    _path("cri-o", rf"/crio-{_HASH}(?:\.scope)?", _SHORT_CRI),  # cri-o, internal/config/cgmgr: CrioPrefix
    _path("podman", rf"/libpod-(?:payload-)?{_HASH}(?:\.scope)?"),  # podman, libpod/container_internal_linux.go
    # cgroupfs drivers write /PARENT/ID
    _path("docker", rf"/docker/{_HASH}"),
    _path("ecs", rf"/ecs/[^\n]*/{_HASH}"),
    _path("containerd", rf"/kubepods[^\n]*/{_HASH}", _SHORT_CRI),  # any CRI runtime, by the kubelet's cgroupfs driver
    _path("lxc", r"/lxc\.payload\.(?P<id>[^/\n]+)", None),  # lxc.container.conf(5): lxc.cgroup.dir.container
    _path("lxc", r"/lxc/(?P<id>[^/\n]+)", None),  # before LXC 4
    _path("nspawn", r"/systemd-nspawn@(?P<id>[^/\n]+)\.service", None),  # systemd-nspawn@.service
    _path("machine", r"/machine-(?P<id>[^/\n]+)\.scope", None),  # systemd-machined(8): virtual machines, nspawn
    _path("systemd", r"/(?P<id>(?!user@|init\.)[^/\n]+\.service)(?=/|$)", None),  # systemd.unit(5)
)

#: A pod's UID, by the cgroupfs driver and by systemd's, which writes each - as _ (kubelet, cm/cgroup_manager_linux).
_POD = re.compile(r"pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?=/|$)")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def home(cgroup: str) -> Home | None:
    """Say what a process with this /proc/PID/cgroup runs in; None where its path names nothing of the kind."""
    found: tuple[int, Home] | None = None
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        for row in PATHS:
            for match in row.pattern.finditer(path):
                # Units hold containers, and not the other way round, unless systemd runs in one.
                if found is None or match.end() > found[0]:
                    found = match.end(), _home(row, match["id"], path)
    return found[1] if found else None


def _home(row: Path, number: str, path: str) -> Home:
    pods = list(_POD.finditer(path))
    pod = pods[-1]["uid"].replace("_", "-") if pods else None
    # systemd.unit(5): what may not stand in a unit's name is escaped.
    plain = _ESCAPED.sub(lambda one: chr(int(one[1], 16)), number) if row.length is None else number
    return Home(row.runtime, plain, plain[: row.length], pod)
