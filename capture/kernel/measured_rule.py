"""How the running kernel chooses source ports, measured: 1,000 connect() calls in a network namespace of our own.

The host is not touched, and nothing leaves the namespace. For kernels whose release does not tell their rule
(port_rules.py), and for those who want to see it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time

from analysis import portwalk
from analysis.errors import CannotCapture, SelfconnError
from analysis.model import Attempts, Endpoint

from . import netns
from .port_rules import RULES, Rule

#: So many attempts tell a walk that leaves out 1 port in 17 from one that leaves out none.
_ATTEMPTS = 1000
_NOBODY = Endpoint.parse("127.0.0.1", 9)
_RANGE = (32768, 60999)


def measured_rule(assumed: Rule) -> Rule:
    """Measure it, within a second. The salt of 10 s does not show so soon: where the rest is as *assumed*, so is it.

    The process must have one thread. Raises CannotCapture where there can be no namespace, or the walk is none that we
    know.
    """
    made = _made()
    times = [at for at, _ in made]
    ports = [port for _, port in made]
    attempts = Attempts(_NOBODY, len(made), times[0], times[-1], ports, [at - times[0] for at in times])
    walk = next(iter(portwalk.walks([attempts])))
    same = [
        rule
        for rule in (assumed, *(rule for _, rule in RULES))
        if walk.guess.selection and rule.selection.algorithm is walk.guess.selection.algorithm
        if rule.halves == (walk.parity is not None)
    ]
    if not same:
        raise CannotCapture(f"the rule of this kernel is none of those known: {walk.guess.why}")
    return same[0]


def _made() -> list[tuple[int, int]]:
    """Time and source port of each attempt, made in a child process that is in the namespace."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writer, "w") as pipe:
                try:
                    netns.enter(_NOBODY, _RANGE)
                    json.dump([_attempt() for _ in range(_ATTEMPTS)], pipe)
                except (OSError, SelfconnError) as error:
                    json.dump(str(error), pipe)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            said = pipe.read()
    finally:
        os.waitpid(child, 0)
    told = json.loads(said) if said else "its process ended"
    if isinstance(told, str):
        raise CannotCapture(f"the rule cannot be measured: {told}")
    return [(at, port) for at, port in told]


def _attempt() -> tuple[int, int]:
    with socket.socket() as one:
        code = one.connect_ex((_NOBODY.address, _NOBODY.port))
        if code != errno.ECONNREFUSED:
            raise OSError(code, os.strerror(code))
        return time.time_ns(), one.getsockname()[1]
