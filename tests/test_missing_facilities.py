"""Where the kernel lacks a part, or does not let us have it: it is named, with what helps, and nothing breaks."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from analysis.errors import CannotCapture
from capture.kernel import tracepoint
from capture.kernel.kernel_states import KernelStates
from capture.kernel.tracepoint import StateTrace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def refusing(number: int, code: int):
    """System calls, of which one fails."""
    real = tracepoint._call

    def call(asked: int, *arguments: object) -> int:
        if asked == number:
            raise OSError(code, os.strerror(code))
        return real(asked, *arguments)

    return call


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Tracing files that look like the kernel's, and are mounted where it has them."""
    event = tmp_path / tracepoint._EVENT
    event.mkdir(parents=True)
    (event / "id").write_text("1")
    (event / "format").write_text("")
    monkeypatch.setattr(tracepoint, "_MOUNTED", tmp_path)
    monkeypatch.setattr(tracepoint, "_call", refusing(tracepoint._FSOPEN, errno.EPERM))
    monkeypatch.setattr(tracepoint, "_perf_event_open", lambda: -1)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENODEV, "this kernel has no tracefs"),
        (
            errno.ENOSYS,
            "this kernel has no tracefs but where it is mounted (before Linux 5.2): mount -t tracefs tracefs {}",
        ),
        (
            errno.EPERM,
            (
                "this process may neither mount the kernel's tracing files (CAP_SYS_ADMIN) nor read those in {}; root "
                "of the host can, unless the kernel is locked down"
            ),
        ),
        (errno.EIO, "the kernel refused tracefs (Input/output error)"),
    ],
)
def test_without_tracefs(code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracepoint, "_MOUNTED", tmp_path)  # where nothing is mounted
    monkeypatch.setattr(tracepoint, "_call", refusing(tracepoint._FSOPEN, code))
    with KernelStates(50000) as states:
        assert (states.missing, states.lost) == (said.format(tmp_path), None)


def test_without_the_tracepoint(mounted: Path) -> None:
    (mounted / tracepoint._EVENT / "format").unlink()
    with pytest.raises(CannotCapture, match="has no tracepoint sock:inet_sock_set_state"):
        StateTrace()


@pytest.mark.parametrize(
    ("code", "paranoid", "said"),
    [
        (errno.ENOSYS, 2, "this kernel has no perf_event_open"),
        (errno.EACCES, 2, "reading socket states takes CAP_PERFMON; root of the host has it"),
        (
            errno.EACCES,
            3,
            "=3, as Debian has it, reading socket states takes CAP_SYS_ADMIN, and CAP_PERFMON is not enough",
        ),
        (errno.EINVAL, 3, "the kernel refused perf_event_open (Invalid argument)"),
    ],
)
@pytest.mark.usefixtures("mounted")
def test_without_perf_events(code: int, paranoid: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(number: int, *_: object) -> int:
        refused = errno.EPERM if number == tracepoint._FSOPEN else code
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(tracepoint, "_call", call)
    monkeypatch.setattr(tracepoint, "_paranoid", lambda: paranoid)
    with pytest.raises(CannotCapture) as error:
        StateTrace()
    assert said in str(error.value)


@pytest.mark.usefixtures("mounted")
def test_without_locked_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def call(number: int, *_: object) -> int:
        if number == tracepoint._FSOPEN:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(tracepoint, "_call", call)
    monkeypatch.setattr(tracepoint.mmap, "mmap", no_memory)
    with pytest.raises(CannotCapture, match="locked memory: CAP_IPC_LOCK helps, or a higher limit"):
        StateTrace()


@pytest.mark.parametrize(("order", "flags"), [("little", 1 << 25 | 1), ("big", 1 << 38 | 1 << 63)])
def test_bit_fields_begin_at_the_other_end_on_big_endian(
    order: str, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracepoint.sys, "byteorder", order)
    assert tracepoint._bit(tracepoint._DISABLED) | tracepoint._bit(tracepoint._USE_CLOCKID) == flags


def test_processors_are_known_without_sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = tracepoint._processors()
    monkeypatch.setattr(tracepoint, "_SYS", tmp_path)  # where nothing is mounted
    assert tracepoint._processors() == known
