"""What to do against self-connects: sentences, and commands that can be pasted where selfconn-check was run.

Each command goes into the network namespace that it is for; what is set in one changes no other. Alike ones are one
command over several namespaces.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from analysis.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..kernel.namespaces import Namespace
    from .findings import Findings, Survey

#: Ends of a filter for ss(8) in one command: a line of its own for each 20 sockets.
_ENDS = 20
#: Namespaces that get a command each for the same setting; more of them are one command.
_SEPARATE = 2


class Advice(NamedTuple):
    """A sentence, and the commands that do what it says."""

    text: str
    commands: tuple[str, ...] = ()


#: What keeps a setting of a namespace after its end, by what made it (``pod``: whatever runtime); {} is the setting.
LASTING = {
    "host": "The same setting in a file in /etc/sysctl.d/ is there after a restart, too.",
    "pod": "For a pod it lasts if it stands in the pod's securityContext.sysctls (net.ipv4.ip_local_reserved_ports is "
    "among the safe ones from Kubernetes 1.27 on).",
    "docker": "For a container it lasts if it is started with it: docker run --sysctl '{}'.",
    "podman": "For a container it lasts if it is started with it: podman run --sysctl '{}'.",
    "containerd": "For a container it lasts if it is started with it: nerdctl run --sysctl '{}'.",
    "lxc": "For a container it lasts if it stands in its configuration: lxc.sysctl.net.ipv4.ip_local_reserved_ports.",
    "systemd": "For a unit with a network of its own it lasts if ExecStartPre= sets it.",
    "": "In a network namespace it lasts as long as that: set it wherever it is made.",
}


def advice(survey: Survey) -> Iterator[Advice]:
    """Say what to do: first reserve, or the port is taken again at once; then free."""
    kernels = [one.kernel for one in survey.each if one.remedy or one.thorough]
    yield from _reserve(survey, lambda one: one.remedy, "Reserve the ports at risk, {}:")
    if any(one.remedy for one in survey.each):
        yield from _lasting(survey)
    those = "With those that are" if any(one.remedy for one in survey.each) else "Reserve those that are"
    yield from _reserve(survey, lambda one: one.thorough, f"{those} safe only for now:")
    if kernels:
        spans = ", ".join(dict.fromkeys(f"{kernel.low}-{kernel.high}" for kernel in kernels))
        yield Advice(
            f"Or move the server to a port outside of {spans}, or keep its port bound by a socket that does not "
            "listen. SO_REUSEADDR does not help."
        )
    for one in survey.each:
        ends = list(dict.fromkeys(str(held.socket.local) for held in one.selves))
        if not ends:
            continue
        which = f"port {one.selves[0].socket.local.port}" if len(ends) == 1 else f"these {len(ends):,} ports"
        filters = (" or ".join(f"( src {end} dst {end} )" for end in ends[at : at + _ENDS]) for at in _steps(ends))
        yield Advice(
            f"Free {which} at once; the process sees ECONNABORTED, and nothing stays in TIME-WAIT:",
            tuple(
                _line(one.namespace, f"ss -tK src {shlex.quote(ends[0])} dst {shlex.quote(ends[0])}")
                if len(ends) == 1
                else _line(one.namespace, f"ss -tK {shlex.quote(text)}")
                for text in filters
            ),
        )


def command(one: Findings, setting: str | None) -> str | None:
    """The command that sets it in the namespace of *one*; None where there is nothing to set."""
    return _line(one.namespace, f"sysctl -w {setting}") if setting else None


def _steps(ends: list[str]) -> Iterable[int]:
    return range(0, len(ends), _ENDS)


def _reserve(survey: Survey, setting: Callable[[Findings], str | None], text: str) -> Iterator[Advice]:
    """Set it in each namespace; in all that take the same setting and have a process, in one command."""
    alike: dict[str, list[Findings]] = {}
    for one in survey.each:
        if value := setting(one):
            alike.setdefault(value, []).append(one)
    if not alike:
        return
    commands = []
    for value, some in alike.items():
        pids = {one.name: one.namespace.pids[0] for one in some if one.namespace and _by_process(one.namespace)}
        if len(pids) > _SEPARATE:
            words = " ".join(map(str, pids.values()))
            commands.append(f"for p in {words}; do {_sudo()}nsenter -n -t $p -- sysctl -w {value}; done")
        commands += [
            _line(one.namespace, f"sysctl -w {value}") for one in some if len(pids) <= _SEPARATE or one.name not in pids
        ]
    kept = any(one.kernel.reserved for some in alike.values() for one in some)
    yield Advice(
        text.format("with what is reserved already" if kept else "in the network namespace of the clients"),
        tuple(commands),
    )


def _by_process(space: Namespace) -> bool:
    return bool(space.pids) and space.prefix[:1] == ["nsenter"]


def _lasting(survey: Survey) -> Iterator[Advice]:
    said: dict[str, str] = {}
    for one in survey.each:
        if one.remedy:
            space = one.namespace
            kind = "host" if space is None or space.host or (space.own and not space.runtime) else ""
            kind = kind or ("pod" if space and space.pod else (space and space.runtime) or "")
            said.setdefault(LASTING.get(kind, LASTING[""]), one.remedy)
    for text, setting in said.items():
        yield Advice(text.format(setting))


def _line(space: Namespace | None, words: str) -> str:
    prefix = "".join(f"{quoted(word)} " for word in (space.prefix if space else ()))
    return f"{_sudo()}{prefix}{words}"


def quoted(word: str) -> str:
    """Quote a word for the shell; what cannot be shown is escaped as bash(1) has it ($'...')."""
    if word == printable(word):
        return shlex.quote(word)
    octets = os.fsencode(word)
    safe = (
        chr(one) if (chr(one).isascii() and chr(one).isalnum()) or one in b"/._-=" else f"\\x{one:02x}"
        for one in octets
    )
    return f"$'{''.join(safe)}'"


def _sudo() -> str:
    return "" if os.geteuid() == 0 else "sudo "
