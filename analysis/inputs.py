"""From what the user names (files, directories, patterns, URLs, - for standard input) to captures, in order."""

# ruff: noqa: PLC0415 -- most runs name files, and need none of it
# ruff: noqa: PTH112, PTH110, PTH116 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import os
import re
import stat

from .errors import NotACapture
from .formats.remote import expanded, is_remote
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STANDARD_INPUT = "-"


class Input(NamedTuple):
    """A capture to read, and the directory in which it was found: there, files that are no captures are passed over."""

    name: str
    directory: str | None = None

    @property
    def read_once(self) -> bool:
        """Whether it is something that can be read only once, or only from elsewhere: no file."""
        return self.name == STANDARD_INPUT or is_remote(self.name) or self.live

    @property
    def live(self) -> bool:
        """Whether it is read as it comes, out of a pipe or the like."""
        try:
            there = os.stat(0 if self.name == STANDARD_INPUT else self.name)
        except (OSError, ValueError):  # it is not there, or a URL: reading it gives the message
            return False
        return not stat.S_ISREG(there.st_mode) and not stat.S_ISDIR(there.st_mode)


def inputs(given: Sequence[str], *, rotated: bool) -> Iterator[Input]:
    """The captures that these names mean: in a directory by name, numbers in names of *rotated* files by value.

    Raises NotACapture where a directory cannot be read or holds no file, or a URL means nothing.
    """
    for name in given:
        if name == STANDARD_INPUT or not os.path.isdir(name):
            yield from map(Input, _meant(name))
            continue
        try:
            with os.scandir(name) as entries:
                files = sorted(
                    (entry.path for entry in entries if entry.name[0] != "." and _counts(entry)),
                    key=_by_number if rotated else None,
                )
        except OSError as error:
            raise NotACapture(f"cannot read {name}: {error.strerror}") from error
        if not files:
            from shlex import quote

            below = quote(f"{name.rstrip('/')}/**/*.pcap*")
            raise NotACapture(f"no capture in {name}: it has no files itself; for the files below it, name {below}")
        yield from (Input(path, name) for path in files)


def _counts(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a symbolic link that leads nowhere: reading that gives a message."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # of a link that leads to itself
        return True


def _meant(name: str) -> list[str]:
    """The captures that a name means which is no directory: a URL and a pattern may mean several."""
    if is_remote(name):
        return expanded(name)
    if any(letter in name for letter in "*?[") and not os.path.exists(name):
        from glob import glob

        found = glob(name, recursive=True)  # noqa: PTH207 - as above
        return sorted(path for path in found if not os.path.isdir(path)) or [name]
    return [name]


def _by_number(path: str) -> list[tuple[int, str]]:
    """A key by which capture.pcap, capture.pcap2 and capture.pcap10 come in this order."""
    return [(int(number or 0), text) for text, number in re.findall(r"(\D*)(\d*)", path)]
