"""What the tests ask of the machine, in one place.

A test that needs a program, a right or a kernel feature takes the fixture ``need_...`` of that name, or calls
``missing()``. Where it is missing the test skips and says why. Under ``CI=true``, where the Makefile is root and
has installed the packages, a missing package fails the test: a skip would hide it.

The quick tests (``--quick``, what ``make quick`` runs) are those that ask for nothing: a test is left out that takes
a ``need_...`` fixture or has a marker of ``NOT_QUICK``, and one that calls ``program()`` skips, whatever is installed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent

# The same examples each time, however slow the machine is; pytest --hypothesis-profile=default looks for others.
settings.register_profile(
    "selfconn", deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("selfconn")

CI = os.environ.get("CI") == "true"

#: Whether only the quick tests are asked for.
QUICK = False

#: What a test is marked with that is not among the quick ones.
NOT_QUICK = {"browser", "live", "long", "packaging", "root"}


def missing(what: str, *, package: str | None = None) -> NoReturn:
    """Skip the test because *what* is missing; fail it in CI where *package* (of the distribution) would bring it."""
    __tracebackhide__ = True
    if package is None:
        pytest.skip(f"needs {what}")
    if CI:
        pytest.fail(f"needs {what}: package {package} is not installed", pytrace=False)
    pytest.skip(f"needs {what}: install the package {package}")


def not_quick(name: str) -> None:
    """Skip the test where only the quick ones are asked for, because it needs the program *name*."""
    __tracebackhide__ = True
    if QUICK:
        pytest.skip(f"not a quick test: needs {name}")


def program(name: str, package: str) -> str:
    """The absolute path of a program that a system package brings; see missing()."""
    __tracebackhide__ = True
    not_quick(name)
    # Where daemons lie is not on everybody's PATH.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return shutil.which(name, path=path) or missing(name, package=package)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """No test leaves a signal handled otherwise than it found it: the next one would feel it."""
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
    before = [signal.getsignal(number) for number in watched]
    yield
    assert [signal.getsignal(number) for number in watched] == before


def ordinary_user() -> pwd.struct_passwd:
    """Somebody of this machine who is not root; nobody, where it has no people."""
    return next((user for user in pwd.getpwall() if 1000 <= user.pw_uid < 60_000), None) or pwd.getpwnam("nobody")


@pytest.fixture(scope="session")
def need_tshark() -> str:
    """Wireshark's dissectors on the command line: the path of tshark."""
    return program("tshark", "tshark")


@pytest.fixture(scope="session")
def need_capinfos() -> str:
    """The path of Wireshark's capinfos."""
    return program("capinfos", "wireshark-common")


@pytest.fixture(scope="session")
def need_tcpdump() -> str:
    """The path of tcpdump."""
    return program("tcpdump", "tcpdump")


@pytest.fixture(scope="session")
def need_telnet() -> str:
    """The path of telnet."""
    return program("telnet", "telnet")


@pytest.fixture(scope="session")
def need_redis() -> str:
    """The path of redis-server; redis-cli comes with it."""
    program("redis-cli", "redis-tools")
    return program("redis-server", "redis-server")


@pytest.fixture(scope="session")
def need_nutcracker() -> str:
    """The path of twemproxy, which Debian calls nutcracker."""
    return program("nutcracker", "nutcracker")


@pytest.fixture(scope="session")
def need_compiler() -> str:
    """A C compiler, and Python's headers for it: its path."""
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing("Python's C headers", package="python3-dev")
    return program("cc", "gcc")


@pytest.fixture(scope="session")
def need_root() -> None:
    """The rights of root on this host."""
    if os.geteuid() != 0:
        missing("root")


@pytest.fixture(scope="session")
def need_ordinary_user() -> None:
    """Not root: for what an unprivileged user is told."""
    if os.geteuid() == 0:
        missing("an ordinary user, this is root")


@pytest.fixture(scope="session")
def need_private_namespace() -> None:
    """A network namespace of one's own: as root, or where user namespaces are allowed to everybody."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = program("unshare", "util-linux")
    answer = subprocess.run(
        [unshare, *rights, "--net", "true"], capture_output=True, text=True, timeout=20, check=False
    )
    if answer.returncode:
        missing(f"a private network namespace ({answer.stderr.strip()})")


@pytest.fixture(scope="session")
def need_ipv6() -> None:
    """IPv6 in this kernel."""
    if not Path("/proc/net/if_inet6").exists():
        missing("IPv6 in the kernel")


def need_linux(major: int, minor: int, what: str) -> None:
    """Skip the test where the kernel is older than *what* it needs."""
    __tracebackhide__ = True
    if tuple(map(int, os.uname().release.split(".")[:2])) < (major, minor):
        missing(f"Linux {major}.{minor} ({what})")


@pytest.fixture(scope="session")
def need_pidfd_getfd(need_root: None) -> None:  # noqa: ARG001
    """The right to duplicate another process's descriptors, and a kernel that can."""
    need_linux(5, 6, "pidfd_getfd")


@pytest.fixture(scope="session")
def need_tracepoint() -> None:
    """The tracepoint of socket states (Linux 4.16), and tracing files without mounting them."""
    need_linux(5, 2, "fsopen")


@pytest.fixture(scope="session")
def installed(need_root: None) -> Iterator[Path]:  # noqa: ARG001
    """Where `make install` put the commands: a place that every user of the machine may enter."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHON"}  # make's, in this clone
    find = [ROOT / "tools" / "find-python", "--shared"]
    if subprocess.run(find, env=ours, capture_output=True, check=False).returncode:
        missing("a Python that every user may run, and that makes environments", package="python3-venv")
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        place = Path(directory)
        place.chmod(0o755)
        command = [ROOT / "tools" / "install", place / "opt", place / "bin", place / "share" / "man" / "man1"]
        made = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, timeout=500, check=False)
        assert made.returncode == 0, made.stderr
        yield place


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--engine``: which form of analysis/engine/ the tests run on; ``--quick``, ``--share``: which tests run."""
    parser.addoption(
        "--quick", action="store_true", help="only the tests that need nothing but Python, and no patience"
    )
    parser.addoption("--share", metavar="N/M", help="the Nth of M shares of the tests, for M processes side by side")
    parser.addoption(
        "--engine",
        choices=("installed", "compiled", "interpreted"),
        default="installed",
        help="the form of analysis.engine to test: what is installed, the compiled one or nothing, the source",
    )


ENGINE = ROOT / "analysis" / "engine"


class SourceOnly:
    """Finds the engine's modules, under the name *package*, in their source files, although compiled ones lie there."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module of the engine; leave any other to whoever comes next."""
        if name == self.package:
            return importlib.util.spec_from_file_location(
                name, ENGINE / "__init__.py", submodule_search_locations=[str(ENGINE)]
            )
        package, _, module = name.rpartition(".")
        return (
            importlib.util.spec_from_file_location(name, ENGINE / f"{module}.py") if package == self.package else None
        )


def pytest_configure(config: pytest.Config) -> None:
    """Put the asked form of the engine in place before any test imports it."""
    config.addinivalue_line("markers", "packaging: builds or installs the package")
    global QUICK  # noqa: PLW0603 - set once, before any test
    QUICK = config.getoption("--quick")
    form = config.getoption("--engine")
    if form == "interpreted":
        sys.meta_path.insert(0, SourceOnly("analysis.engine"))
    elif form == "compiled":
        found = importlib.util.find_spec("analysis.engine.wire")
        if found is None or not str(found.origin).endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            raise pytest.UsageError(f"analysis.engine is not compiled: {found and found.origin}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not asked for. Shares take turns: neighbours take about as long as each other."""
    kept = [item for item in items if not config.getoption("--quick") or _is_quick(item)]
    if share := config.getoption("--share"):
        number, shares = map(int, share.split("/"))
        kept = kept[number - 1 :: shares]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _is_quick(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return not (
        NOT_QUICK & {mark.name for mark in item.iter_markers()} or any(name.startswith("need_") for name in fixtures)
    )
