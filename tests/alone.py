"""A test's own network: a child process in a private network namespace, as root and as an ordinary user."""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pytest

from analysis.model import Endpoint
from capture.kernel import netns

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def alone(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call *function* in a child of ours whose network is a ``lo`` and nothing else, and return what it returned.

    Its ephemeral range is the kernel's default. The test fails where the function does.
    """
    __tracebackhide__ = True
    return within(60, function, *args, **kwargs)


def within(seconds: float, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The same, for what may take longer than a minute."""
    __tracebackhide__ = True
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            netns.enter(Endpoint.parse("127.0.0.1", 50000), (32768, 60999))
            answer = pickle.dumps((None, function(*args, **kwargs)))
        except BaseException:  # noqa: BLE001 - the parent shows it
            answer = pickle.dumps((traceback.format_exc(), None))
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            if not select.select([pipe], [], [], seconds)[0]:
                pytest.fail(f"no answer from the namespace after {seconds:g} s")
            failure, result = pickle.loads(pipe.read())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if failure:
        pytest.fail(failure, pytrace=False)
    return result
