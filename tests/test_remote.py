"""Captures on servers: over HTTP from a server that breaks off, from a local S3, and what is said when it cannot be."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
import s3fs
from conftest import ROOT
from fsspec.config import conf, set_conf_env
from moto.server import ThreadedMotoServer
from segments import refused, self_connect, three_way
from test_analyze_cli import COMMAND, capture, run

from analysis.formats import remote

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.long  # servers, and an S3 among them


class Server(SimpleHTTPRequestHandler):
    """Files of a directory; it knows ranges or not, and breaks answers off after some octets, so many times.

    Its ranges lie so many octets later than what was asked for, as it says.
    """

    ranges = True
    late = 0
    most = 1 << 30
    breaks: ClassVar[list[int]] = []
    answered: ClassVar[list[int]] = []
    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        path = Path(self.directory, self.path[1:])
        if not path.is_file():
            self.send_error(404)
            return
        octets = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.ranges else None
        first = int(asked[1]) + self.late if asked else 0
        last = min(int(asked[2] or len(octets)) + self.late, len(octets) - 1) if asked else len(octets) - 1
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(octets)}")
        if self.command == "HEAD":
            self.end_headers()
            return
        self.answered.append(first)  # before the client, which may not wait for the rest, sees an answer
        self.end_headers()
        octets = octets[first : last + 1]
        if len(octets) > self.most and self.breaks:
            self.breaks.pop()
            octets = octets[: self.most]
            self.close_connection = True
        self.sent.append(len(octets))
        self.wfile.write(octets)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def served(directory: Path, **how: object) -> Iterator[str]:
    handler = type("Served", (Server,), how)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = capture(refused(), self_connect(), three_way())
    (tmp_path / "one.pcap").write_bytes(data)
    (tmp_path / "two.pcap.gz").write_bytes(gzip.compress(data))
    return tmp_path


def told(text: str, prefix: str) -> str:
    return text.replace(prefix, "")


@pytest.mark.parametrize(
    "how",
    [{}, {"ranges": False}, {"most": 400, "breaks": [1, 2, 3]}, {"ranges": False, "most": 400, "breaks": [1, 2, 3]}],
    ids=["ranges", "none", "broken off", "broken off without ranges"],
)
def test_over_http_it_is_the_same(folder: Path, how: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    with served(folder, **how) as url:
        there = run(f"{url}/one.pcap", f"{url}/two.pcap.gz")
    here = run(folder / "one.pcap", folder / "two.pcap.gz")
    assert (there.returncode, there.stderr) == (0, "")
    assert told(there.stdout, url) == told(here.stdout, str(folder))


@pytest.mark.parametrize("ranges", [True, False])
def test_what_breaks_off_is_read_on(folder: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    monkeypatch.setattr(remote, "BLOCK", 512)
    data = random.Random(7).randbytes(10_000)
    (folder / "more").write_bytes(data)
    with served(folder, ranges=ranges, most=300, breaks=[1, 2, 3]) as url:
        assert b"".join(remote.blocks(f"{url}/more")) == data
    with (
        # Nothing comes at all: what comes before an answer breaks off may be taken, and then the count begins anew.
        served(folder, ranges=ranges, most=0, breaks=list(range(100))) as url,
        pytest.raises(OSError, match="6 times"),
    ):
        list(remote.blocks(f"{url}/more"))


def test_a_range_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the range is asked for; it is read on where it breaks off; a file that is shorter is an error."""
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    monkeypatch.setattr(remote, "BLOCK", 512)
    data = random.Random(7).randbytes(10_000)
    (folder / "more").write_bytes(data)
    sent: list[int] = []
    with served(folder, most=300, breaks=[1, 2, 3], sent=sent) as url:
        assert remote.size(f"{url}/more") == len(data)
        assert b"".join(remote.blocks(f"{url}/more", 0, 100)) == data[:100]
        assert b"".join(remote.blocks(f"{url}/more", 3000, 5000)) == data[3000:5000]
        assert sum(sent) <= 100 + 2000 + 1000  # what is on its way where it breaks off comes twice
        assert b"".join(remote.blocks(f"{url}/more", 9000)) == data[9000:]
        with pytest.raises(OSError, match=r"416|6 times"):
            list(remote.blocks(f"{url}/more", 10_000, 10_001))
    with served(folder, ranges=False, answered=(answered := [])) as url:  # type: ignore[var-annotated]
        assert b"".join(remote.blocks(f"{url}/more", 0, 5000)) == data[:5000]
        assert b"".join(remote.blocks(f"{url}/more", 9000)) == data[9000:]
        answered.clear()
        with pytest.raises(OSError, match="no ranges"):
            list(remote.blocks(f"{url}/more", 3000, 5000))
        assert answered == [0]  # once: to try again is of no use
    with served(folder, late=4) as url:
        for start in (0, 3000):
            with pytest.raises(OSError, match="another part than the one asked for"):
                list(remote.blocks(f"{url}/more", start, 5000))
        assert b"".join(remote.blocks(f"{url}/more")) == data
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1"):
        remote.size(f"{url}/more")


def test_a_range_of_what_a_bucket_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(7).randbytes(10_000)
    (folder / "more").write_bytes(data)
    with bucket(folder) as (url, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        set_conf_env(conf)
        assert remote.size(f"{url}more") == len(data)
        assert b"".join(remote.blocks(f"{url}more", 3000, 5000)) == data[3000:5000]
    there = (folder / "more").as_uri()
    assert b"".join(remote.blocks(there, 3000, 5000)) == data[3000:5000]
    assert remote.size(there) == len(data)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http://127.0.0.1:1/x.pcap", "cannot read http://127.0.0.1:1/x.pcap: "),
        *(
            (
                f"{protocol}://{rest}",
                f"cannot read {protocol}://{rest}: only URLs of http, https, s3, gs, az, sftp, hdfs and file",
            )
            for protocol, rest in (
                ("nothing", "x.pcap"),
                ("reference", "x.json"),
                ("zip", "x.pcap::http://127.0.0.1:1/x.zip"),
                ("simplecache::http", "127.0.0.1:1/x.pcap"),
                ("dask", "x"),
                ("memory", "x"),
            )
        ),
        ("file:///nowhere::reference://x", "cannot read file:///nowhere::reference://x: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(name: str, words: str) -> None:
    ended = run(name)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_what_is_not_there(folder: Path) -> None:
    with served(folder) as url:
        ended = run(f"{url}/none.pcap", f"{url}/one.pcap")
    assert ended.returncode == 3
    assert "cannot read" in ended.stderr
    assert "self-connect" in ended.stdout


@contextmanager
def bucket(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The files of a folder in an S3 of our own: their URL, and the environment that leads there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        key = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        store = s3fs.S3FileSystem(endpoint_url=endpoint, key="test", secret="test", skip_instance_cache=True)
        if store.exists("captures"):  # what the server knows outlives it
            store.rm("captures", recursive=True)
        store.mkdir("captures")
        store.put([str(path) for path in sorted(folder.iterdir())], "captures/ring/")
        yield "s3://captures/ring/", {**key, "FSSPEC_S3_ENDPOINT_URL": endpoint}
    finally:
        server.stop()


def test_from_a_bucket(folder: Path) -> None:
    with bucket(folder) as (url, environment):
        there = run(url, env=os.environ | environment)
        some = run(f"{url}*.gz", env=os.environ | environment)
    here = run(folder)
    assert (there.returncode, there.stderr) == (0, "")
    assert told(there.stdout, "s3://captures/ring") == told(here.stdout, str(folder))
    assert "two.pcap.gz" in some.stdout
    assert "one.pcap" not in some.stdout


def test_a_pattern_that_no_shell_has_expanded(folder: Path) -> None:
    assert "one.pcap" in run(folder / "*.pcap").stdout
    assert "two.pcap" not in run(folder / "*.pcap").stdout


# -- what a server may not do ------------------------------------------------------------------------------------------

SECRETS = ("tony", "pass-word", "AKIA-me", "signature-of-mine", "elsewhere-signed")


class Private(Server):
    """It wants to be asked with a signature; one path leads elsewhere, with another."""

    def do_GET(self) -> None:
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "/none.pcap?X-Amz-Signature=elsewhere-signed")
            self.end_headers()
            return
        self.path, _, query = self.path.partition("?")
        if "signature-of-mine" not in query:
            self.send_error(403)
            return
        super().do_GET()

    do_HEAD = do_GET  # noqa: N815


@pytest.mark.parametrize("name", ["one.pcap", "none.pcap", "away.pcap", "cut.pcap", "text.pcap", "one*.pcap"])
@pytest.mark.parametrize("form", ["table", "json"])
def test_what_lets_in_is_never_shown(folder: Path, name: str, form: str) -> None:
    (folder / "cut.pcap").write_bytes((folder / "one.pcap").read_bytes()[:-5])
    (folder / "text.pcap").write_text("no capture")
    handler = partial(type("Handler", (Private,), {}), directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        query = "X-Amz-Credential=AKIA-me&X-Amz-Signature=signature-of-mine"
        ended = run("--format", form, f"http://tony:pass-word@{host}/{name}?{query}", "/nowhere")
        again = run("--annotate", folder / "x.pcapng", f"http://tony:pass-word@{host}/{name}?{query}")
        server.shutdown()
    assert ended.returncode == 3
    shown = ended.stdout + ended.stderr + again.stdout + again.stderr
    assert not [secret for secret in SECRETS if secret in shown]
    assert f"{host}/{name}?..." in shown


class Hostile(Server):
    """It says that a file is small, and sends without end, or what unpacks to very much."""

    sent: ClassVar[list[int]] = []
    encoding = ""
    bomb = gzip.compress(bytes(512 << 20), 1)

    def do_GET(self) -> None:
        part = "Range" in self.headers
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", self.headers["Range"].replace("=", " ").rstrip("-") + "-999/1000")
        if self.command == "HEAD":
            self.send_header("Content-Length", "1000")
            self.end_headers()
            return
        if self.encoding:
            self.send_header("Content-Encoding", self.encoding)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(self.bomb)
            return
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        with suppress(OSError):
            for _ in range(512):
                self.wfile.write(bytes(1 << 20))
                self.sent.append(1)
        self.close_connection = True

    do_HEAD = do_GET  # noqa: N815


#: Runs a command, and writes at the end how much memory it took. (The kernel counts a child's memory from the fork on,
#: so it has to be the child of a small process.)
MEASURED = """import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(ended.returncode)
"""


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("url", ["http://{}/x.pcap", "http://{}/captures/", "s3://captures/x.pcap"])
def test_a_store_cannot_send_more_than_is_asked_for(encoding: str, url: str) -> None:
    sent: list[int] = []
    handler = type("Handler", (Hostile,), {"encoding": encoding, "sent": sent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        key = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "FSSPEC_S3_ENDPOINT_URL": f"http://{host}"}
        ended = subprocess.run(
            [sys.executable, "-c", MEASURED, *COMMAND, url.format(host)],
            cwd=ROOT,
            env=os.environ | key,
            capture_output=True,
            text=True,
            check=False,
        )
        server.shutdown()
    assert ended.returncode in {3, 4}, ended.stderr
    assert sum(sent) < 100
    assert int(ended.stderr.split()[-1]) < 300 << 10  # KB


class Pages(Server):
    """Pages of links, by their addresses: some lead nowhere, some to a connection that breaks; deep ones go on."""

    pages: ClassVar[dict[str, tuple[str, ...]]] = {
        "/": ("a/x/", "b/x/", "?C=N;O=D", "nothing/"),
        "/a/x/": ("one.pcap",),
        "/b/x/": ("two.pcap.gz",),
        "/part/": ("/part/broken/", "/part/one.pcap"),
    }

    def do_GET(self) -> None:
        if self.path == "/part/broken/":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        page = ("on/",) if self.path.startswith("/deep/") else self.pages.get(self.path)
        if page is None:
            self.path = "/" + self.path.rpartition("/")[2]
            super().do_GET()
            return
        octets = "".join(f'<a href="{link}">x</a>' for link in page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(octets)

    do_HEAD = do_GET  # noqa: N815

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # of the connection that was closed
            super().handle()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()


@pytest.mark.parametrize(
    ("path", "status", "names", "words"),
    [
        ("", 0, ["a/x/one.pcap", "b/x/two.pcap.gz"], ""),
        ("*/x/*", 0, ["a/x/one.pcap", "b/x/two.pcap.gz"], ""),
        ("part/", 3, [], "cannot read"),
        ("deep/", 3, [], "go on and on"),
    ],
)
def test_lists_of_a_server_are_read_whole_or_not_at_all(
    folder: Path, path: str, status: int, names: list[str], words: str
) -> None:
    handler = partial(type("Handler", (Pages,), {}), directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        ended = run("--format", "json", url + path)
        server.shutdown()
    assert ended.returncode == status, ended.stderr
    assert words in ended.stderr
    captures = json.loads(ended.stdout)["captures"] if status == 0 else []
    assert [one["name"] for one in captures] == [url + name for name in names]
