"""Captures in object stores and on servers, by URL through fsspec: read as a stream, with little memory.

Which protocols there are is fsspec's affair: http and https with selfconn[remote], s3 with selfconn[s3], others (gs,
az, sftp, hdfs ...) with the packages that fsspec names when one is missing.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from ..errors import NotACapture

if TYPE_CHECKING:
    from collections.abc import Generator

#: Octets asked for at a time.
BLOCK = 4 << 20

#: Times in a row that reading on may fail, with pauses in seconds that begin with this and double.
TRIES, PAUSE = 6, 0.1


def is_remote(name: str) -> bool:
    """Whether *name* is a URL and no path."""
    return "://" in name


def expanded(url: str) -> list[str]:
    """The captures that *url* means, by name: those below it where it ends in a slash, those that a pattern fits.

    Raises NotACapture where there is no such store, or none in it.
    """
    if not (url.endswith("/") or any(letter in url for letter in "*[")):
        return [url]
    store, path = _store(url)
    try:
        found = store.find(path) if url.endswith("/") else store.glob(path)
    except Exception as error:
        raise NotACapture(f"cannot read {url}: {_said(error)}") from error
    if not found:
        raise NotACapture(f"no capture in {url}: nothing is there")
    return sorted(store.unstrip_protocol(one) for one in found)


def blocks(url: str) -> Generator[bytes, None, None]:
    """The octets at *url*, in blocks. What breaks off is read on from there, some times.

    Raises NotACapture where there is no such store, OSError where nothing is there or reading fails for good.
    """
    store, path = _store(url)
    file: Any = None
    size: int | None = None
    at = failures = 0
    whole = False  # the server knows no ranges: it is read from its beginning
    try:
        while True:
            try:
                if file is None:
                    size = store.info(path).get("size")
                    file = _at(store, path, at, whole=whole)
                block = file.read(BLOCK)
                if not block and size is not None and at < size:
                    raise OSError(f"it ended after {at} of {size} octets")  # noqa: TRY301 - like any other break
            except (FileNotFoundError, PermissionError) as error:
                raise OSError(error.errno, _said(error)) from error
            except Exception as error:  # each store has errors of its own
                failures += 1
                whole = whole or isinstance(error, ValueError)  # fsspec's word for it
                if failures == TRIES:
                    raise OSError(None, f"{_said(error)} ({TRIES} times)") from error
                _close(file)
                file = None
                time.sleep(PAUSE * 2 ** (failures - 1))
                continue
            if not block:
                return
            failures = 0
            at += len(block)
            yield block
    finally:
        _close(file)


def _store(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - only for URLs

        store, path = url_to_fs(url)
    except ImportError as error:
        raise NotACapture(f"cannot read {url}: {_said(error)}; pip install 'selfconn[remote]', or [s3]") from error
    except Exception as error:
        raise NotACapture(f"cannot read {url}: {_said(error)}") from error
    return store, path


def _at(store: Any, path: str, at: int, *, whole: bool) -> Any:  # noqa: ANN401 - fsspec has no types
    """Open it, and go to where reading ended."""
    if not whole:
        file = store.open(path, "rb", block_size=BLOCK, cache_type="readahead")
        file.seek(at)
        return file
    file = store.open(path, "rb", block_size=0)
    while at:
        passed = file.read(min(at, BLOCK))
        if not passed:
            raise OSError("it has become shorter")
        at -= len(passed)
    return file


def _close(file: Any) -> None:  # noqa: ANN401 - as above
    if file is not None:
        with contextlib.suppress(Exception):
            file.close()


def _said(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
