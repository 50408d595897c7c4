// node pyodide.mjs PYODIDE REPOSITORY PACKAGES PYTEST-ARGUMENT...: some of the tests under the Python of a browser.
import { pathToFileURL } from "node:url";

const [folder, repository, packages, ...words] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`).href);
const python = await loadPyodide({ indexURL: folder, env: { HOME: "/", PYTHONDONTWRITEBYTECODE: "1", PYTEST_DISABLE_PLUGIN_AUTOLOAD: "1" } });
for (const [name, root] of Object.entries({ "/repository": repository, "/packages": packages })) {
  python.FS.mkdir(name);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, name);
}
python.globals.set("words", python.toPy(words));
const status = python.runPython(`
import os, sys, types
from unittest.mock import MagicMock

sys.path[:0] = ["/repository", "/repository/tests", "/repository/tools/bundle"]  # the last has cython.py
sys.path.append("/packages")
sys.modules["pwd"] = MagicMock()  # a browser has no users

# Hypothesis is compiled for the machine's own Python: what it would test is left out.
import pytest


def given(*_strategies, **_named):
    return lambda test: pytest.mark.skip("needs Hypothesis")(lambda: None)

hypothesis = types.ModuleType("hypothesis")
hypothesis.given, hypothesis.strategies, hypothesis.HealthCheck = given, MagicMock(), MagicMock()
hypothesis.settings = MagicMock(side_effect=lambda *_, **__: lambda test: test)
sys.modules["hypothesis"] = hypothesis
sys.modules["hypothesis.strategies"] = hypothesis.strategies

os.chdir("/repository")
options = ["-q", "-c", "/dev/null", "--rootdir=/repository", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-W", "ignore"]
int(pytest.main([*options, *words]))
`);
process.exit(status);
