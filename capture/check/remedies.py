"""What to do against self-connects: sentences, and commands that can be pasted where selfconn-check was run.

Each command goes into the network namespace that it is for; what is set in one changes no other. Alike ones are one
command over several namespaces.
"""

from __future__ import annotations

import os
import shlex

from analysis.records import NamedTuple
from analysis.text import printable

from ..kernel.namespaces import in_a_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..kernel.namespaces import Namespace
    from .findings import Findings, Survey

_NAME = "net.ipv4.ip_local_reserved_ports"
#: Sockets in one filter for ss(8).
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
    "self": "For this container it lasts if it is started with it: docker run --sysctl '{}', or a pod's "
    "securityContext.sysctls. What it may not do itself (its settings are read-only, or it lacks CAP_NET_ADMIN) can be "
    "done from the host: sudo selfconn-check there has the commands.",
    "": "In a network namespace it lasts as long as that: set it wherever it is made.",
}


def advice(survey: Survey) -> Iterator[Advice]:
    """Say what to do: first reserve, or the port is taken again at once; then free."""
    kernels = [one.kernel for one in survey.each if one.remedy or one.thorough]
    yield from _reserve(survey, lambda one: one.remedy, "Reserve the ports at risk, {}:")
    if any(one.remedy for one in survey.each):
        yield from _lasting(survey)
    yield from _free(survey)
    those = "With those that are" if any(one.remedy for one in survey.each) else "Reserve those that are"
    yield from _reserve(survey, lambda one: one.thorough, f"{those} safe only for now:")
    if kernels:
        spans = ", ".join(dict.fromkeys(f"{kernel.low}-{kernel.high}" for kernel in kernels))
        yield Advice(
            f"Or move the server to a port outside of {spans}, or keep its port bound by a socket that does not "
            "listen. SO_REUSEADDR on the server alone does not help."
        )


def _free(survey: Survey) -> Iterator[Advice]:
    """Close the sockets that are connected to themselves, in each namespace; those of many in one command."""
    filters: dict[str, list[Findings]] = {}
    ports = set()
    for one in survey.each:
        ends = list(dict.fromkeys(str(held.socket.local) for held in one.selves))
        ports |= {(one.name, held.socket.local.port) for held in one.selves}
        for at in range(0, len(ends), _ENDS):
            some = [f"src {end} dst {end}" for end in ends[at : at + _ENDS]]
            text = f'"{" or ".join(f"( {pair} )" for pair in some)}"' if len(some) > 1 else quoted_words(some[0])
            filters.setdefault(text, []).append(one)
    if ports:
        which = f"port {next(iter(ports))[1]}" if len(ports) == 1 else f"these {len(ports):,} ports"
        yield Advice(
            f"{'Then free' if any(one.remedy for one in survey.each) else 'Free'} {which}; the process sees "
            "ECONNABORTED, and nothing stays in TIME-WAIT:",
            tuple(line for text, some in filters.items() for line in _in_each(some, f"ss -tK {text}")),
        )


def command(one: Findings, setting: str | None) -> str | None:
    """The command that sets it in the namespace of *one*; None where there is nothing to set."""
    return _line(one.namespace, f"sysctl -w {setting}") if setting else None


def quoted_words(text: str) -> str:
    """Quote each word for the shell."""
    return " ".join(map(shlex.quote, text.split()))


def _reserve(survey: Survey, setting: Callable[[Findings], str | None], text: str) -> Iterator[Advice]:
    """Set it in each namespace; in all that take the same setting and have a process, in one command."""
    alike: dict[str, list[Findings]] = {}
    for one in survey.each:
        if value := setting(one):
            alike.setdefault(value, []).append(one)
    if not alike:
        return
    commands = [line for value, some in alike.items() for line in _in_each(some, f"sysctl -w {value}")]
    kept = any(one.kernel.reserved for some in alike.values() for one in some)
    yield Advice(
        text.format("with what is reserved already" if kept else "in the network namespace of the clients"),
        tuple(commands),
    )


def _in_each(some: Iterable[Findings], words: str) -> Iterator[str]:
    """The command in each of these namespaces: one loop over those that are entered by a process, if they are many."""
    each = list(some)
    pids = {one.name: one.namespace.pids[0] for one in each if one.namespace and _by_process(one.namespace)}
    if len(pids) > _SEPARATE:
        yield f"for p in {' '.join(map(str, pids.values()))}; do {_sudo()}nsenter -n -t $p -- {words}; done"
        each = [one for one in each if one.name not in pids]
    yield from (_line(one.namespace, words) for one in each)


def _by_process(space: Namespace) -> bool:
    return bool(space.pids) and space.prefix[:1] == ["nsenter"]


def _lasting(survey: Survey) -> Iterator[Advice]:
    said: dict[str, set[str]] = {}
    for one in survey.each:
        if one.remedy:
            space = one.namespace
            kind = "host" if space is None or space.host else "pod" if space.pod else space.runtime or ""
            kind = kind or ("self" if space and space.own and in_a_container() else "")
            said.setdefault(LASTING.get(kind, LASTING[""]), set()).add(one.remedy)
    for text, settings in said.items():
        yield Advice(text.format(next(iter(settings)) if len(settings) == 1 else f"{_NAME}=..."))


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
