"""Captures in object stores and on servers, by URL through fsspec: read as a stream, with little memory.

PROTOCOLS are those that are allowed: http and https with fsspec and aiohttp, s3 with s3fs, the others with the
packages that fsspec names when one is missing. fsspec knows more, and chains of them ("a::b"), some of which run what a
file says or hide which server is asked; they are refused.

What a server sends is read in portions, so that its size does not matter, and never unpacked on the way: compression.py
does that, within bounds. No text that is shown has a user, a password or a signature in it: see shown().
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import deque
from functools import cache

from ..errors import NotACapture, get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from typing import Any, Protocol

    class _Stream(Protocol):
        """What is read from where it stands on, no more than was asked for at a time."""

        def read(self, octets: int) -> bytes: ...
        def close(self) -> None: ...


#: What may stand before "://", and the packages that read it.
_PACKAGES = {
    "http": ("fsspec[http]",),
    "https": ("fsspec[http]",),
    "s3": ("s3fs",),
    "gs": ("gcsfs",),
    "az": ("adlfs",),
    "sftp": ("fsspec", "paramiko"),
    "hdfs": ("fsspec", "pyarrow"),
    "file": ("fsspec",),
}
PROTOCOLS = tuple(_PACKAGES)

#: Octets asked for at a time.
BLOCK = 4 << 20

#: How many octets a page may have that lists what a server has.
PAGE = 16 << 20

#: How many pages are read for the captures of a server that fit one URL, how many names they may have, and how many
#: pages may lead one to the next.
PAGES, NAMES, DEPTH = 10_000, 200_000, 50

#: How often in a row reading may fail; the first pause between two tries in seconds, which doubles each time.
TRIES, PAUSE = 6, 0.1

#: Seconds that a server may take to answer, or be silent.
PATIENCE = 60

#: A URL in a text.
_URL = r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+"


def is_remote(name: str) -> bool:
    """Whether *name* is a URL and no path."""
    return "://" in name


def shown(name: str) -> str:
    """Return a name as it may be shown: a URL without user and password, and without what follows ? or #."""
    if not is_remote(name):
        return name
    protocol, _, rest = name.partition("://")
    place, mark, _ = re.match(r"([^?#]*)([?#]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    host, slash, path = place.partition("/")
    return f"{protocol}://{host.rpartition('@')[2]}{slash}{path}{mark and mark + '...'}"


def expanded(url: str) -> list[str]:
    """Return the captures that *url* means, by name: those below it if it ends in a slash, or those that fit a pattern.

    Raises NotACapture where there is no such store, or no capture in it.
    """
    if not (url.endswith("/") or any(letter in url.partition("://")[2] for letter in "*[")):
        return [url]
    store, path = _store(url)
    _leave_out_nothing(store)
    try:
        found = store.find(path) if url.endswith("/") else store.glob(path)
    except Exception as error:
        raise NotACapture(f"cannot read {shown(url)}: {_said(error)}") from error
    if not found:
        raise NotACapture(f"no capture in {shown(url)}: nothing is there")
    return sorted(store.unstrip_protocol(one) for one in found)


class _Unread(Exception):  # noqa: N818 - it names what happened
    """A folder cannot be listed. It is no OSError: of those fsspec says nothing, and leaves the folder out."""


def _leave_out_nothing(store: Any) -> None:  # noqa: ANN401 - fsspec has no types
    """Have a folder of *store* that cannot be listed raise _Unread; one that is not there any more is left out."""
    name = "_ls" if store.async_impl else "ls"
    plain = getattr(store, name)
    if getattr(plain, "leaves_out_nothing", False):  # stores are made once for all URLs of a host
        return

    @contextlib.contextmanager
    def strict() -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _Unread(_said(error)) from error

    async def waited(*words: Any, **how: Any) -> Any:  # noqa: ANN401 - whatever each store takes
        with strict():
            return await plain(*words, **how)

    def listed(*words: Any, **how: Any) -> Any:  # noqa: ANN401 - as above
        with strict():
            return plain(*words, **how)

    made: Any = waited if store.async_impl else listed
    made.leaves_out_nothing = True
    setattr(store, name, made)


def size(url: str) -> int | None:
    """Return how many octets are at *url*; None where the server does not say. Raises as :func:`blocks` does."""
    store, path = _store(url)
    try:
        return _size(store, path)
    except Exception as error:  # each store has errors of its own
        raise OSError(None, _said(error)) from error


def _size(store: Any, path: str) -> int | None:  # noqa: ANN401 - fsspec has no types
    return store.info(path).get("size") or None  # some servers say 0 if they do not know


class _NoRanges(OSError):  # noqa: N818 - it names what happened
    """The server sends a file only from its beginning."""


def blocks(url: str, start: int = 0, end: int | None = None) -> Generator[bytes, None, None]:
    """Yield the octets at *url*, in blocks. If the reading breaks off it continues there, at most TRIES times in a row.

    With *end*, these are octets *start* to *end*; http, https and s3 are asked for no others. Raises NotACapture where
    there is no such store, OSError where nothing is there, reading fails for good, or a range is wanted of a server
    that knows none.
    """
    store, path = _store(url)
    stream: _Stream | None = None
    size = end
    at, failures = start, 0
    try:
        while size is None or at < size:
            try:
                if stream is None:
                    size = end or _size(store, path)
                    stream = _opened(store, path, at, end)
                block = stream.read(BLOCK if size is None else min(BLOCK, size - at))
                if not block and size is not None and at < size:
                    raise OSError(f"it ended after {at} of {size} octets")  # noqa: TRY301 - like any other break
            except (FileNotFoundError, PermissionError, _NoRanges) as error:
                raise OSError(error.errno, _said(error)) from error
            except Exception as error:  # each store has errors of its own
                failures += 1
                if failures == TRIES:
                    raise OSError(None, f"{_said(error)} (tried {TRIES} times)") from error
                _close(stream)
                stream = None
                time.sleep(PAUSE * 2 ** (failures - 1))
                continue
            if not block:
                return
            failures = 0
            at += len(block)
            yield block
    finally:
        _close(stream)


def _store(url: str) -> tuple[Any, str]:
    """The store that *url* lies in, and where in it."""
    protocol = url.partition("://")[0]
    if protocol not in PROTOCOLS:
        known = f"{', '.join(PROTOCOLS[:-1])} and {PROTOCOLS[-1]}"
        raise NotACapture(f"cannot read {shown(url)}: only URLs of {known} can be read")
    try:
        from fsspec import get_filesystem_class  # noqa: PLC0415 - only for URLs

        kind = get_filesystem_class(protocol)
        how = {}
        if protocol in {"http", "https"}:
            kind, how = _server(), _http()
        return kind(**kind._get_kwargs_from_urls(url), **how), kind._strip_protocol(url)  # noqa: SLF001 - as url_to_fs()
    except ImportError as error:
        why = f"{_said(error)}; {get(*_PACKAGES[protocol])}"
        raise NotACapture(f"cannot read {shown(url)}: {why}") from error
    except Exception as error:
        raise NotACapture(f"cannot read {shown(url)}: {_said(error)}") from error


@cache
def _server() -> Any:  # noqa: ANN401 - fsspec has no types
    """Return fsspec's class for servers, but for how it goes from page to page.

    fsspec follows links without end, and of two links that end in the same name it forgets one.
    """
    from fsspec.implementations.http import HTTPFileSystem  # noqa: PLC0415 - only for URLs

    class Server(HTTPFileSystem):  # type: ignore[misc]
        async def _walk(
            self,
            path: str,
            maxdepth: int | None = None,
            **_: object,
        ) -> AsyncIterator[tuple[str, dict[str, Any], dict[str, Any]]]:
            """Yield each page, breadth first: its address, the folders and the files that it lists, by their URLs."""
            ahead, known = deque([(path, 1)]), {path}
            pages = names = 0
            while ahead:
                page, depth = ahead.popleft()
                found = []
                with contextlib.suppress(FileNotFoundError):  # a page's links to itself, sorted otherwise, are none
                    found = [one for one in await self._ls(page, detail=True) if "/?" not in one["name"]]
                pages, names = pages + 1, names + len(found)
                if pages > PAGES or names > NAMES or depth > DEPTH:
                    raise _Unread(
                        f"its lists go on and on: {pages:,} pages, {names:,} names so far, {depth} folders deep"
                    )
                folders = {one["name"]: one for one in found if one["type"] == "directory"}
                yield page, folders, {one["name"]: one for one in found if one["type"] != "directory"}
                if maxdepth is None or depth < maxdepth:
                    new = folders.keys() - known
                    known |= new
                    ahead += [(one, depth + 1) for one in sorted(new)]

    return Server


@cache
def _http() -> dict[str, Any]:
    """Return how fsspec asks servers, in addition to what the user's configuration of fsspec says."""
    import aiohttp  # noqa: PLC0415 - only for URLs
    from fsspec.config import conf  # noqa: PLC0415
    from fsspec.implementations.http import get_client  # noqa: PLC0415

    class Bounded(aiohttp.ClientResponse):
        """A response of which at most PAGE octets are read as a whole; streams are read in portions."""

        async def read(self) -> bytes:
            page = bytearray()
            while portion := await self.content.read(1 << 16):
                page += portion
                if len(page) > PAGE:
                    self.close()
                    raise OSError(f"the server's list is longer than {PAGE} octets")
            return bytes(page)

        async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
            return (await self.read()).decode(encoding or "utf-8", errors)

    async def client(**how: Any) -> aiohttp.ClientSession:  # noqa: ANN401 - aiohttp's own
        quiet = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=PATIENCE)
        how = {"timeout": quiet, **how, "auto_decompress": False, "response_class": Bounded}
        session: aiohttp.ClientSession = await get_client(**how)
        return session

    headers = [conf.get(protocol, {}).get("headers", {}) for protocol in ("http", "https")]
    return {"get_client": client, "headers": {**headers[0], **headers[1], "Accept-Encoding": "identity"}}


def _opened(store: Any, path: str, at: int, end: int | None) -> _Stream:  # noqa: ANN401 - fsspec has no types
    """Open what is there, so that it is read on from octet *at*; up to *end*, where there is one, or further."""
    if "https" in store.protocol:
        return _from_server(store, path, at, end)
    if "s3" in store.protocol:
        return _FromBucket(store, path, at, end)
    file: _Stream = store.open(path, "rb", block_size=BLOCK, cache_type="readahead")
    file.seek(at)  # type: ignore[attr-defined]
    return file


def _range(at: int, end: int | None) -> dict[str, str]:
    """The header that asks for octets *at* to *end* (RFC 9110, section 14.2); none for all of them."""
    if not at and end is None:
        return {}
    return {"Range": f"bytes={at}-{'' if end is None else end - 1}"}


def _from_server(store: Any, path: str, at: int, end: int | None) -> _Stream:  # noqa: ANN401 - as above
    """Open what a server has from octet *at* on. If it knows no ranges, read and drop what is before.

    With *end* it is not dropped, since somebody else reads it: raises _NoRanges.
    """
    part = _range(at, end)
    file: Any = store.open(path, "rb", block_size=0, size=1, headers=store.kwargs["headers"] | part)
    try:
        if part and file.r.status == 206:
            if not file.r.headers.get("Content-Range", "").startswith(f"bytes {at}-"):
                raise OSError("it sent another part than the one asked for")  # noqa: TRY301 - what is open is closed below
            at = 0
        if at and end is not None:
            raise _NoRanges("it sends no ranges of a file")  # noqa: TRY301 - as above
        while at:
            passed = file.read(min(at, BLOCK))
            if not passed:
                raise OSError("it has become shorter")  # noqa: TRY301 - as above
            at -= len(passed)
    except BaseException:
        _close(file)
        raise
    stream: _Stream = file
    return stream


class _FromBucket:
    """The body of an object in S3. s3fs would take all of what the store sends for one of its portions."""

    def __init__(self, store: Any, path: str, at: int, end: int | None) -> None:  # noqa: ANN401 - as above
        bucket, key, version = store.split_path(path)
        part = ({"VersionId": version} if version else {}) | _range(at, end)
        self._loop = store.loop
        self._body = store.call_s3("get_object", Bucket=bucket, Key=key, **part, **store.req_kw)["Body"]

    def read(self, octets: int) -> bytes:
        from fsspec.asyn import sync  # noqa: PLC0415 - as above

        return bytes(sync(self._loop, self._body.read, octets))

    def close(self) -> None:
        self._body.close()


def _close(stream: _Stream | None) -> None:
    if stream is not None:
        with contextlib.suppress(Exception):
            stream.close()


def _said(error: BaseException) -> str:
    """An error in one line, with URLs as they may be shown."""
    return re.sub(_URL, lambda found: shown(found[0]), " ".join(str(error).split())) or type(error).__name__
