"""What tests need from npm: the packages by which forges and browsers show a report, run by node without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from conftest import ROOT, missing, not_quick

PACKAGES = {"jsdom": "^26", "marked": "^18", "mermaid": "^12"}

#: Installed here once, and used again; `make clean` removes it.
HOME = ROOT / ".cache" / "npm"

#: A document for what expects a browser; `given` is the text on standard input, as JSON.
_BROWSER = """
import { JSDOM } from 'jsdom';
import { readFileSync } from 'node:fs';
globalThis.window = new JSDOM('').window;
globalThis.document = window.document;
const given = JSON.parse(readFileSync(0, 'utf8'));
"""


def run(script: str, given: Any) -> Any:
    """What a module in JavaScript makes of *given*; it leaves that in ``answer``. Skips where there is no node."""
    node = _node()
    program = f"{_BROWSER}\nlet answer;\n{script}\nprocess.stdout.write(JSON.stringify(answer), () => process.exit(0));"
    command = [node, "--input-type=module", "--eval", program]
    done = subprocess.run(
        command, cwd=HOME, input=json.dumps(given), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _node() -> str:
    not_quick("node")
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("node and npm")
    wanted = json.dumps({"private": True, "dependencies": PACKAGES})
    asked = HOME / "package.json"
    ready = HOME / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--silent"]
        try:
            HOME.mkdir(parents=True, exist_ok=True)
            asked.write_text(wanted)
            done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=200, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            missing(f"packages from npm ({error})")
        if done.returncode:
            missing(f"packages from npm ({done.stderr.strip().splitlines()[-1:]})")
        ready.write_text(wanted)
    return node
