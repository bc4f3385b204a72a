"""The study of the tutorial does what the tutorial says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance]

ROOT = Path(__file__).resolve().parents[2]


def orchestrator(*arguments):
    command = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_prints_what_it_shows(workspace):
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(), re.DOTALL)
    (workspace / "study.py").write_text(code)
    orchestrator("run", "study.py", "--project-job", "first")
    status = orchestrator("status")
    assert re.search(r"add +succeeded +\d of 10", status)
    finished = len((workspace / "first/experiment_data/output.csv").read_text().splitlines())
    orchestrator("resume", "first", "--from-step", "evaluate@1")
    assert "succeeded" in orchestrator("status").splitlines()[0]
    assert len((workspace / "first/experiment_data/output.csv").read_text().splitlines()) >= finished
    orchestrator("resume", "first", "--update", "study.py")
