"""How this host's kernel chooses the source port of a connect(): the settings, the rule of its release, the odds.

Needs no root. Everything is read in the network namespace that the process is in.

A socket connects to itself when the kernel gives it, as its source port, the very port that it dials. The kernel does
not look out for that. Which ports it gives, and in which order, is the rule of its release (port_rules.py).
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from analysis.errors import CannotCapture
from analysis.odds import RANDOM, Odds
from analysis.records import NamedTuple

from .number_lists import parsed
from .port_rules import identified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.model import Endpoint

    from .port_rules import Change, Identity, Rule

_PROC = Path("/proc")


class Kernel(NamedTuple):
    """What the kernel says of its ephemeral ports: ``low`` to ``high``, both included, without ``reserved``.

    ``tw_reuse`` and ``tw_reuse_delay`` (milliseconds): when connect() may take over a 4-tuple that is in TIME-WAIT
    (0 never, 1 always, 2 on loopback). ``step_width``: 0 where unset or not known to this kernel.
    ``unprivileged_from``: the first port that everybody may bind(). ``build`` is what ``uname -v`` says, and whatever
    else tells the patch level; ``measured`` the rule as it was measured, if it was.
    """

    release: str
    low: int
    high: int
    reserved: frozenset[int] = frozenset()
    tw_reuse: int = 2
    tw_reuse_delay: int = 1000
    step_width: int = 0
    unprivileged_from: int = 1024
    build: str = ""
    measured: Rule | None = None

    @property
    def identity(self) -> Identity:
        """Which Linux it is."""
        return identified(self.release, self.build)

    @property
    def rule(self) -> Rule:
        """How this kernel's connect() chooses: as measured, or by its release."""
        return self.measured or self.identity.rule

    @property
    def certain(self) -> bool:
        """Whether that is more than assumed."""
        return bool(self.measured) or self.identity.certain

    def renews(self, endpoint: Endpoint) -> bool:
        """Whether connect() may take over a TIME-WAIT from this endpoint to itself (tcp_tw_reuse).

        The kernel looks at the addresses, not at where the packets go (tcp_twsk_unique()).
        """
        return self.tw_reuse == 1 or (self.tw_reuse == 2 and endpoint.is_loopback)

    def has(self, change: Change) -> bool:
        """Whether this kernel's release has the change."""
        return change.is_in(self.identity.release)

    def candidates(self, *, bound_first: bool = False, taken: frozenset[int] = frozenset()) -> tuple[range, list[int]]:
        """The ports that an attempt starts its search at, and those of them that it can end with.

        *bound_first*: bind() to port 0 comes before connect(). *taken* ports are held by somebody's bind().
        """
        count = self.high - self.low + 1
        if not self.rule.halves:
            ports = range(self.low, self.low + count)
            return ports, self._free(ports, taken)
        count -= count % 2 if count > 1 else 0  # the kernel rounds down: the last port of an odd range is never given
        own, other = range(self.low, self.low + count, 2), range(self.low + 1, self.low + count, 2)
        if bound_first and other:
            own, other = other, own
        free = self._free(own, taken)
        return (own, free) if free else (other, self._free(other, taken))

    def _free(self, ports: range, taken: frozenset[int]) -> list[int]:
        blocked = self._blocked(ports, taken)
        return [port for port in ports if port not in blocked] if blocked else list(ports)

    def _blocked(self, ports: range, taken: frozenset[int]) -> set[int]:
        return {port for some in (self.reserved, taken) for port in some if port in ports}

    def windows(self, *, bound_first: bool = False, taken: frozenset[int] = frozenset()) -> dict[int, int]:
        """The ports that an attempt can end with, each with the number of ports to start at that lead there.

        An attempt that starts at a port it cannot have goes on to the next one it can, so a port behind
        a reserved block gets what starts in the block, too; with ip_local_port_step_width that spreads evenly.
        """
        ports, free = self.candidates(bound_first=bound_first, taken=taken)
        found = dict.fromkeys(free, 1)
        if self.step_width or not free:
            return found
        before, row = None, 0
        for port in sorted(self._blocked(ports, taken)):
            row = row + 1 if before == port - ports.step else 1
            before = port
            if port + ports.step in found:
                found[port + ports.step] += row
        if before == ports[-1]:  # the search goes on at the first
            found[free[0]] += row
        return found

    def share(self, port: int, *, bound_first: bool = False, taken: frozenset[int] = frozenset()) -> float:
        """The chance that an attempt gets *port* as its source, if it may start anywhere."""
        windows = self.windows(bound_first=bound_first, taken=taken)
        return windows.get(port, 0) / max(1, sum(windows.values()))

    def odds(self, port: int, windows: dict[int, int], *, bound_first: bool = False, every: float = 0.0) -> Odds:
        """The odds of getting *port* with an attempt *every* so many seconds; 0: as quickly as may be.

        *windows* are those of ``windows()``, *bound_first* as there.
        """
        if port not in windows:
            return Odds(0.0)
        way = RANDOM if bound_first else self.rule.selection
        return way.odds(Counter(windows.values()), windows[port], every=every)


#: What is read of net.ipv4, which serves IPv6 as well, and what counts where this kernel does not have it.
_SETTINGS = {
    "ip_local_port_range": "",
    "ip_local_reserved_ports": "",
    "tcp_tw_reuse": "0",
    "tcp_tw_reuse_delay": "1000",
    "ip_local_port_step_width": "0",
    "ip_unprivileged_port_start": "1024",
}


def settings() -> dict[str, str]:
    """Read the settings of the network namespace that the process is in, as they stand; kernel() reads them."""
    return {name: _setting(name, default) for name, default in _SETTINGS.items()}


def identity() -> Identity:
    """Say which Linux is running."""
    return identified(os.uname().release, f"{os.uname().version} {_signature()}")


def kernel(read: Mapping[str, str] | None = None, measured: Rule | None = None) -> Kernel:
    """Say how the running kernel chooses with these settings (those of this network namespace, if None).

    *measured* is its rule, if that was measured.

    Raises CannotCapture where it is not Linux.
    """
    try:
        read = settings() if read is None else read
        low, high = map(int, read["ip_local_port_range"].split())
    except (OSError, ValueError) as error:
        raise CannotCapture(f"this needs Linux with /proc/sys/net, which cannot be read here: {error}") from error
    return Kernel(
        release=os.uname().release,
        build=f"{os.uname().version} {_signature()}",
        measured=measured,
        low=low,
        high=high,
        reserved=parsed(read["ip_local_reserved_ports"]),
        tw_reuse=int(read["tcp_tw_reuse"]),
        tw_reuse_delay=int(read["tcp_tw_reuse_delay"]),
        step_width=int(read["ip_local_port_step_width"]),
        unprivileged_from=int(read["ip_unprivileged_port_start"]),
    )


def _signature() -> str:
    """What Ubuntu's kernels say of the release that they come from."""
    try:
        return (_PROC / "version_signature").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def failed_attempts() -> int:
    """How many attempts to connect have failed in this network namespace so far (RFC 4022, tcpAttemptFails).

    Raises CannotCapture where the kernel does not count them.
    """
    try:
        lines = (_PROC / "net/snmp").read_text(encoding="ascii").splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("AttemptFails")])
    except (OSError, ValueError) as error:
        raise CannotCapture(f"/proc/net/snmp has no count of failed attempts ({error}); use --every") from error


def _setting(name: str, default: str) -> str:
    """One of net.ipv4. *default* where this kernel does not have it."""
    try:
        setting = os.open(f"{_PROC}/sys/net/ipv4/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # In one read: the kernel cuts a long list (of reserved ports) to the room there is, and says no more.
            return os.read(setting, 1 << 20).decode("ascii").strip()
        finally:
            os.close(setting)
    except FileNotFoundError:
        return default
