"""What docs/other-tools.md says that other programs say, they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, program

sys.path.insert(0, str(ROOT / "docs"))
import tools  # a script beside what it makes

#: What ndpiReader leaves behind, wherever it is run.
LEFT = (Path("/tmp/des_result.csv"), Path("/tmp/ses_result.csv"))


@pytest.mark.parametrize("tool", tools.TOOLS, ids=lambda tool: tool.name)
def test_it_says_so(tool: tools.Tool, tmp_path: Path) -> None:
    (tmp_path / "pcaps").symlink_to(ROOT / "pcaps")
    older = [program("editcap", "wireshark-common"), "-F", "pcap", tools.CAPTURE, tools.OLDER]
    subprocess.run(older, cwd=tmp_path, check=True, timeout=60)
    command = tool.command
    for part in tool.command.split(" | "):
        name = part.split(maxsplit=1)[0]
        package = "argus-server" if name == "argus" else tool.package
        path = f"{sys.executable} -m analysis.cli" if not package else program(name, package)
        command = command.replace(name, path, 1)
    plain = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    there = [path for path in LEFT if path.exists()]
    answer = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=plain,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    for path in LEFT:
        if path not in there:
            path.unlink(missing_ok=True)
    said = " ".join(answer.stdout.split())
    for quote in tool.quotes:
        assert quote in said, answer.stderr
