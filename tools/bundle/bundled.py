"""How selfconn.pyz imports its modules: from memory. Part of that file, and of no installation.

All that may be imported is read at the start, while whoever called may read the file: later the process may be another
user, in another mount namespace, and the file replaced by a newer one. Nothing is unpacked. The compiled engine needs
a file for the dynamic linker: it gets one without a name, in memory (memfd_create(2)). Where that does not work (no
/proc, a policy against it, another processor or Python), the same source runs as it is.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
import zipimport
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType


_TAG = sys.implementation.cache_tag


class Made:
    """The loader of a compiled module that is loaded already, for the dynamic linker could have refused it."""

    def __init__(self, loader: ExtensionFileLoader, module: ModuleType) -> None:
        self.loader, self.module = loader, module

    def create_module(self, _spec: ModuleSpec) -> ModuleType:
        """That module."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        self.loader.exec_module(module)


class Bundle:
    """A finder and a loader (importlib.abc) of what is in the archive at *path*. Raises OSError, ImportError."""

    def __init__(self, path: str) -> None:
        archive = zipimport.zipimporter(path)
        self.path = path
        self.data: dict[str, bytes] = marshal.loads(archive.get_data("data"))  # noqa: S302 - of this very file
        self.compiled: dict[str, bytes] = {}
        with suppress(OSError):
            self.compiled = marshal.loads(archive.get_data(f"compiled{EXTENSION_SUFFIXES[0]}"))  # noqa: S302
        try:
            self.code: dict[str, bytes] = marshal.loads(archive.get_data(f"code.{_TAG}"))  # noqa: S302
            self.is_source = False
        except OSError:  # nothing was prepared for this Python
            self.code = {name: archive.get_data(name) for name in self.data["sources"].decode().split()}
            self.is_source = True
        self.loaded = 0

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of ours; None for others'."""
        if name in self.compiled:
            try:
                return self._engine(name)
            except (OSError, ImportError):
                if self.loaded:  # half of the engine compiled and half not does not work
                    raise
                self.compiled.clear()
        place = name.replace(".", "/")
        for file, package in ((f"{place}.py", False), (f"{place}/__init__.py", True)):
            if file in self.code:
                spec = ModuleSpec(name, self, origin=f"{self.path}/{file}", is_package=package)
                spec.has_location = True
                if spec.submodule_search_locations is not None:
                    spec.submodule_search_locations.append(f"{self.path}/{place}")
                return spec
        return None

    def create_module(self, _spec: ModuleSpec) -> None:
        """A module as any other."""

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        assert module.__file__  # noqa: S101 - find_spec() named it
        exec(self._code(module.__file__), vars(module))  # noqa: S102 - that is what importing is

    def get_data(self, path: str) -> bytes:
        """A file beside the modules, for pkgutil.get_data(). Raises OSError."""
        try:
            return self.data[path.removeprefix(f"{self.path}/")]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _code(self, origin: str) -> CodeType:
        octets = self.code[origin.removeprefix(f"{self.path}/")]
        code: CodeType = compile(octets, origin, "exec", dont_inherit=True) if self.is_source else marshal.loads(octets)  # noqa: S302
        return code

    def _engine(self, name: str) -> ModuleSpec:
        """Load a compiled module. Raises OSError or ImportError where the system does not."""
        fd = os.memfd_create(name)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(self.compiled[name])
            # The linker knows what it has loaded by the path: each has one of its own, though the number is the same.
            path = f"/proc/self{'/.' * self.loaded}/fd/{fd}"
            loader = ExtensionFileLoader(name, path)
            module = loader.create_module(ModuleSpec(name, loader, origin=path))
        finally:
            os.close(fd)
        self.loaded += 1
        return ModuleSpec(name, Made(loader, module), origin=path)  # type: ignore[arg-type] # it has what is needed


def main(path: str) -> int:
    """Run selfconn out of the archive at *path*; the exit status, 70 where it cannot be read."""
    try:
        gc.disable()  # the commands enable it, once everything is imported
        sys.path[0] = path
        sys.argv[0] = path
        sys.meta_path.insert(0, Bundle(path))
        from selfconn.__main__ import main as run  # noqa: PLC0415 - it can be found now
    except Exception as error:  # noqa: BLE001 - Python would end with 1, which is a result of the commands
        sys.stderr.write(f"{path} cannot start: {error!r}\n")
        return 70
    return run()
