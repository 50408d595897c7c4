"""Giving up root, for good.

Called once, by the only thread there is, when the sockets that need privilege are open and before anything is parsed,
written or imported from elsewhere. Afterwards, in this process and whatever it starts:

- it is the user who called sudo (SUDO_UID, SUDO_GID), with that user's groups;
- no capability is left in any set, nor in the bounding set where the process may empty it (root may);
- no-new-privileges is set: no program that it runs gets more, not as set-user-ID and not as root's;
- no process but root's can look into it: see keep_to_itself().

Root without sudo has no user to become. It stays user 0, without capabilities: it still owns root's files, but may do
nothing that needs a capability. The same holds for user 0 of a user namespace, who is an ordinary user outside of it.

capabilities(7), prctl(2), capset(2), credentials(7), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
from contextlib import suppress
from pathlib import Path

from analysis.errors import CannotCapture

from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# <linux/prctl.h>
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
# <linux/capability.h>
_CAPABILITY_VERSION_3 = 0x20080522

#: The last user ID; 2**32 - 1 means "unchanged" to setresuid(2).
_LAST_ID = (1 << 32) - 2


class User(NamedTuple):
    """The user that the process is from now on."""

    name: str
    uid: int
    gid: int
    home: str


def give_up_root() -> User:
    """Become the user who called sudo, and give up every privilege (see the module's text). It cannot be undone.

    HOME, USER and LOGNAME are that user's afterwards. Without root there is nothing to become, but capabilities
    (of a user namespace, of the file) go all the same. Returns whom the process is now. Raises CannotCapture where
    SUDO_UID names nobody or a privilege stayed; the process must then end.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        # setresuid() reaches every thread, capset() and prctl() only the one that calls.
        raise CannotCapture("privilege can only be given up while there is one thread")
    user = _caller() if os.geteuid() == 0 else None
    try:
        bounding = _drop_bounding_set()
        if user is not None:
            os.setgroups(os.getgrouplist(user.name, user.gid))
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            os.environ.update(HOME=user.home, USER=user.name, LOGNAME=user.name)
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _clear_capabilities()
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        keep_to_itself()
    except OSError as error:
        raise CannotCapture(f"cannot give up privilege: {error.strerror}") from error
    user = user or _current()
    _check(user, ["CapInh", "CapPrm", "CapEff", "CapAmb", *(["CapBnd"] if bounding else [])])
    return user


def keep_only(capabilities: Iterable[int]) -> None:
    """Give up every capability but these (their numbers), for this process and whatever it starts. Raises OSError."""
    kept = sum(1 << one for one in capabilities)
    capability = 0
    while _libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(capability), 0, 0, 0) >= 0:
        if not kept >> capability & 1:
            with suppress(PermissionError):
                _prctl(_PR_CAPBSET_DROP, capability)
        capability += 1
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    has = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm:"))
    kept &= int(has.split()[1], 16)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    # Twice effective, permitted, inheritable: the low words, then the high ones (capset(2)).
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _must(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(struct.pack("=6I", low, low, 0, high, high, 0))))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    keep_to_itself()


def has_none() -> bool:
    """Whether this process has no capability, in effect or to take. False where that cannot be seen."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        kept = [line for line in status.splitlines() if line.startswith(("CapPrm:", "CapEff:"))]
        return len(kept) == 2 and not any(int(line.split()[1], 16) for line in kept)
    except (OSError, ValueError):
        return False


def keep_to_itself() -> None:
    """Let no process look into this one but those of root: it holds sockets that others may not have.

    Else any process with the same user ID (COMMAND, for one) could take them (ptrace(2), pidfd_getfd(2)). A program
    that is executed is as before. To be called before the first of them is opened. (Where the user ID changes, the
    kernel does the same, unless fs.suid_dumpable says otherwise.)
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def _caller() -> User | None:
    """Find who called sudo; None where nobody but root did, or where this user namespace does not know the caller."""
    number = os.environ.get("SUDO_UID", "0")
    if number == "0":
        return None
    uid, gid = _identifier("SUDO_UID", number), _identifier("SUDO_GID", os.environ.get("SUDO_GID", ""))
    if not _mapped(uid, "uid") or not _mapped(gid, "gid"):
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise CannotCapture(f"SUDO_UID is {uid}, and there is no such user") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return User(entry.pw_name, uid, gid if gid in groups else entry.pw_gid, entry.pw_dir)


def _identifier(name: str, text: str) -> int:
    """Read a user or group ID as sudo writes it: decimal digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LAST_ID):
        raise CannotCapture(f"{name} is {text!r}, not a number that sudo would set")
    return int(text)


def _mapped(number: int, kind: str) -> bool:
    """Whether this user namespace has a user (or group) of that *number*."""
    lines = Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").splitlines()
    ranges = ([int(field) for field in line.split()] for line in lines)
    return any(first <= number < first + count for first, _, count in ranges)


def _current() -> User:
    uid, gid = os.getuid(), os.getgid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, gid, os.environ.get("HOME", "/"))
    return User(entry.pw_name, uid, gid, entry.pw_dir)


_libc = ctypes.CDLL(None, use_errno=True)


def _must(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _prctl(option: int, argument: int) -> int:
    zero = ctypes.c_ulong(0)
    return _must(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero))


def _drop_bounding_set() -> bool:
    """Empty the bounding set; False where the process may not (CAP_SETPCAP), as an ordinary user may not."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(capability), 0, 0, 0) >= 0:
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except PermissionError:
            return False
        capability += 1
    return True


def _clear_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _must(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(bytes(24))))


def _check(user: User, sets: list[str]) -> None:
    """Ask the kernel whether all of it is gone, *sets* of capabilities included. Raises CannotCapture."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    left = [name for name in sets if int(status[name], 16)]
    # Real, effective, saved and file system ID.
    left += [
        name for name, number in (("Uid", user.uid), ("Gid", user.gid)) if set(status[name].split()) != {str(number)}
    ]
    if status["NoNewPrivs"].strip() != "1":
        left.append("NoNewPrivs")
    if _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0):
        left.append("dumpable")
    if user.uid != 0:
        with suppress(OSError):
            os.setresuid(0, 0, 0)
            left.append("root")
    if left:
        raise CannotCapture(f"could not give up privilege: {', '.join(left)} stayed")
