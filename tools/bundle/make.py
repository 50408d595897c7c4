"""Make selfconn.pyz: everything the three commands need besides Python, in one file.

    PYTHON tools/bundle/make.py FILE WHEEL=PYTHON...

PYTHON is that of the project's environment, whose tabulate, Jinja2 ... are put in. The compiled engine comes from each
wheel of selfconn (tools/wheel), for the Python that made it; the rest is the same in all. docs/bundle.md says what is
in the file, and why.
"""

from __future__ import annotations

import importlib.metadata
import marshal
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: What the commands import of other projects, by its distribution, and where in it. Not scapy, pyshark and
#: lxml, nor tqdm's windows and notebooks: no command needs these, or not here (docs/dependencies.md).
NEEDED = {
    "Jinja2": ("jinja2/*.py",),
    "MarkupSafe": ("markupsafe/*.py",),
    "tabulate": ("tabulate/*.py", "tabulate.py"),
    "tqdm": tuple(f"tqdm/{name}.py" for name in ("__init__", "_*", "cli", "gui", "std", "utils", "version")),
}

START = b"#!/usr/bin/env -S python3 -ISB\n"


def others(into: Path) -> None:
    """Copy what NEEDED names, with the licence of each."""
    for name, wanted in NEEDED.items():
        files = importlib.metadata.files(name) or []
        took = 0
        for file in files:
            licence = ".dist-info/" in str(file) and file.name.upper().startswith(("LICEN", "COPYING"))
            if licence or any(file.match(pattern) and len(file.parts) == pattern.count("/") + 1 for pattern in wanted):
                target = into / (f"licenses/{name}-{file.name}" if licence else file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
                took += not licence
        if not took:
            raise SystemExit(f"{name} is not in this environment: run make bundle")


def compiled(top: Path) -> dict[str, dict[str, bytes]]:
    """Take the compiled modules away from below *top*: by suffix, each by its name."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(top.rglob("*.so")):
        stem, _, suffix = path.relative_to(top).as_posix().partition(".")
        found.setdefault(suffix, {})[stem.replace("/", ".")] = path.read_bytes()
        path.unlink()
    return found


def main() -> None:
    """Make it."""
    target, *wheels = sys.argv[1:]
    moment = max(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), 315_532_800)  # a zip file knows nothing before 1980
    with tempfile.TemporaryDirectory() as directory:
        top, code = Path(directory, "top"), Path(directory, "code")
        parts: dict[str, bytes] = {}
        for wheel, _, python in (wheel.rpartition("=") for wheel in wheels):
            shutil.rmtree(top, ignore_errors=True)
            zipfile.ZipFile(wheel).extractall(top)
            for about in top.glob("*.dist-info"):
                (top / "licenses").mkdir()
                shutil.copyfile(about / "licenses" / "LICENSE", top / "licenses" / "selfconn-LICENSE")
                shutil.rmtree(about)
            others(top)
            shutil.copyfile(HERE / "cython.py", top / "cython.py")
            for suffix, modules in compiled(top).items():
                parts[f"compiled.{suffix}"] = marshal.dumps(modules)
            subprocess.run([python, "-ISB", HERE / "compile.py", top, code], check=True)  # noqa: S603
            tag = [python, "-ISc", "import sys; print(sys.implementation.cache_tag)"]
            parts[f"code.{subprocess.check_output(tag, text=True).strip()}"] = code.read_bytes()  # noqa: S603
        paths = sorted(path for path in top.rglob("*") if path.is_file())
        files = {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}
        data = {name: octets for name, octets in files.items() if not name.endswith(".py")}
        data["sources"] = "\n".join(name for name in files if name.endswith(".py")).encode()
        parts["data"] = marshal.dumps(data)
        files |= {name: (HERE / name).read_bytes() for name in ("__main__.py", "bundled.py")}
        write(Path(target), files, parts, moment)


def write(target: Path, files: dict[str, bytes], parts: dict[str, bytes], moment: int) -> None:
    """Write the archive in one step: sources compressed, and as they are the parts that are read at each start."""
    beside = target.with_name(target.name + ".new")
    with beside.open("wb") as file:
        file.write(START)
        with zipfile.ZipFile(file, "w") as archive:
            for name, octets in {**files, **parts}.items():
                entry = zipfile.ZipInfo(name, time.gmtime(moment)[:6])
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                read_at_each_start = name in parts or name in {"__main__.py", "bundled.py"}
                entry.compress_type = zipfile.ZIP_STORED if read_at_each_start else zipfile.ZIP_DEFLATED
                archive.writestr(entry, octets)
    beside.chmod(0o755)
    beside.rename(target)


if __name__ == "__main__":
    main()
