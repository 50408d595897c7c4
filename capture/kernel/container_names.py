"""What people named a container, out of the files in which its runtime keeps that: no daemon is asked.

Of each file that is named here, no more than ``_LARGEST`` octets are read, and nothing of one that is not an ordinary
file of root's or our own. What stands in it is the word of whoever started the container: where this process still has
privilege, a child without any makes sense of it, and hands back names alone. The standard library alone.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from analysis import privilege
from analysis.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from .containers import Home

_LARGEST = 4 << 20
#: Longer ones are cut: Kubernetes' namespace and pod are 63 and 253 characters at most.
_LONGEST = 320
#: Containers that are not looked for again: an ID has one name for as long as it is (but for docker rename).
_REMEMBERED = 4096
_KNOWN: dict[str, str | None] = {}
_HASH = re.compile(r"[0-9a-f]{64}")
_ROOT = Path("/")


class Kept(NamedTuple):
    """Where a runtime keeps the name of a container: in *files* (of ``ID``, or of all), *name* finds it in one."""

    runtimes: tuple[str, ...]
    files: tuple[str, ...]
    name: Callable[[Any, str], object]


def _docker(document: Any, _: str) -> object:  # noqa: ANN401 - so for the others: whatever stands in the file
    return document["Name"].removeprefix("/")


def _storage(document: Any, number: str) -> object:  # noqa: ANN401
    """containers/storage lists all containers in one file."""
    return next(one["names"][0] for one in document if one["id"] == number)


def _annotated(document: Any, _: str) -> object:  # noqa: ANN401
    """The bundle of a container (OCI runtime specification, config.json) has what the runtime wrote to it."""
    notes = document["annotations"]
    for space, pod in _POD_NOTES:
        if space in notes and pod in notes:
            return f"{notes[space]}/{notes[pod]}"
    return notes["nerdctl/name"]


_POD_NOTES = (
    ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name"),  # containerd, internal/cri/annotations
    ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name"),  # cri-o, which takes the kubelet's labels
)
_TASKS = "io.containerd.runtime.v2.task/*/ID/config.json"
_SNAP = "var/snap/docker/common/var-lib-docker"
#: Containerd's own place, that of k3s and RKE2, that of MicroK8s.
_CONTAINERD = ("run/containerd", "run/k3s/containerd", "var/snap/microk8s/common/run/containerd")

#: The first file that has it counts. A star stands for one name of a directory.
KEPT = (
    Kept(  # moby, daemon/container: config.v2.json
        ("docker",),
        tuple(f"{top}/containers/ID/config.v2.json" for top in ("var/lib/docker", _SNAP)),
        _docker,
    ),
    Kept(
        ("podman",),  # containers/storage: containers.go
        tuple(
            f"{top}/containers/storage/*-containers/{name}containers.json"
            for top in ("var/lib", "run")
            for name in ("", "volatile-")
        ),
        _storage,
    ),
    Kept(
        ("cri-o",),
        tuple(f"{top}/containers/storage/*-containers/ID/userdata/config.json" for top in ("run", "var/lib")),
        _annotated,
    ),
    Kept(("containerd",), tuple(f"{top}/{_TASKS}" for top in _CONTAINERD), _annotated),
)  # fmt: skip


class _File(NamedTuple):
    """The octets of a file, for which containers they are asked, and how."""

    data: bytes
    ids: list[str]
    kept: Kept


def names(homes: Collection[Home]) -> dict[str, str]:
    """The names of those of the containers that have one which can be read, by their IDs.

    A name is anything at all: escape it before showing it.
    """
    new = {one.id: one for one in homes if one.id not in _KNOWN}
    if files := list(_files(new.values())):
        found = _found(files) if privilege.has_none() else _apart(files)
        if len(_KNOWN) > _REMEMBERED:
            _KNOWN.clear()
        _KNOWN.update({one: found.get(one) for one in new})
    return {one.id: name for one in homes if (name := _KNOWN.get(one.id))}


def _files(homes: Collection[Home]) -> Iterator[_File]:
    for kept in KEPT:
        ids = sorted({one.id for one in homes if one.runtime in kept.runtimes and _HASH.fullmatch(one.id)})
        for pattern in kept.files if ids else ():
            each = {pattern.replace("ID", one): [one] for one in ids}  # one file of each, or one of all
            if "ID" not in pattern:
                each = {pattern: ids}
            for name, some in each.items():
                for path in sorted(_ROOT.glob(name)) if "*" in name else [_ROOT / name]:
                    with suppress(OSError):
                        yield _File(_read(path), some, kept)


def _read(path: Path) -> bytes:
    """Read an ordinary file of root's or our own; nothing, where it is something else. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_size > _LARGEST:
            return b""
        return file.read(_LARGEST)


def _found(files: Collection[_File]) -> dict[str, str]:
    import json  # noqa: PLC0415 - most hosts have no containers

    known: dict[str, str] = {}
    for data, ids, kept in files:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            continue
        for one in ids:
            with suppress(LookupError, TypeError, AttributeError, StopIteration):
                name = kept.name(document, one)
                if isinstance(name, str) and name:
                    known.setdefault(one, name[:_LONGEST])
    return known


def _apart(files: Collection[_File]) -> dict[str, str]:
    """Find them in a child that has no privilege; none where that cannot be had. There must be one thread."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        with suppress(BaseException):
            privilege.give_up_root()
            with os.fdopen(theirs, "wb") as out:
                for one, name in _found(files).items():
                    out.write(one.encode() + name.encode(errors="backslashreplace").hex().encode() + b"\n")
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as told:
        lines = told.read(2 * _LARGEST).splitlines()
    os.waitpid(pid, 0)
    known = {}
    for line in lines:
        with suppress(ValueError):  # the child failed half-way
            known[line[:64].decode("ascii")] = bytes.fromhex(line[64:].decode("ascii")).decode(
                errors="backslashreplace"
            )
    return known
