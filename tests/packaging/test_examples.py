"""The example studies and the README's, run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments import ENVIRONMENT

pytestmark = [pytest.mark.acceptance]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def succeed(*arguments: str | Path) -> str:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def orchestrator(*arguments: str | Path) -> str:
    return succeed("-c", "from orchestrator.cli.main import main; main()", *arguments)


def test_the_quickstart_runs_by_the_command(workspace):
    orchestrator("run", EXAMPLES / "quickstart.py")
    assert "succeeded" in orchestrator("status")
    log = next((workspace / "logs").glob("*/report*.log")).read_text()
    assert re.search(r"best of 40 experiments: branin\(\S+, \S+\) = \d+\.\d{3}", log)


def test_the_quickstart_runs_in_python(workspace):
    succeed(EXAMPLES / "quickstart.py")
    assert "succeeded" in orchestrator("status")


@pytest.mark.timeout(900)
def test_the_demo_works_on_a_fresh_checkout(workspace):
    """`scripts/demo` makes its environment and tunes a good model on the digits."""
    checkout = workspace / "fresh checkout"
    leave_out = shutil.ignore_patterns(".*_cache", ".git", ".venv", "demo-runs", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=leave_out)
    done = subprocess.run(
        [checkout / "scripts" / "demo", workspace / "runs"],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"} | {"COLUMNS": "80"},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "succeeded" in done.stdout

    [best_file] = workspace.glob("runs/*/best.json")
    best = json.loads(best_file.read_text())
    assert best["cross_validated_accuracy"] > 0.98
    assert best["test_accuracy"] > 0.97
    # The loop ended because a round gained nothing, not because its iterations ran out.
    assert best["evaluations"] % 16 == 0
    assert 32 <= best["evaluations"] < 16 * 6


def without_numbers(status: str) -> list[str]:
    """Return the words of a status that do not depend on time and place."""
    without_durations = re.sub(r"\d[\d.]*\s+(ms|s|min|h|d)\b", "", status)
    return [word for word in without_durations.split() if not re.search(r"[\d/]", word)]


def test_the_readme_shows_the_status_of_its_study(workspace):
    readme = (ROOT / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    [shown] = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    (workspace / "study.py").write_text(code)
    orchestrator("run", "study.py")
    assert without_numbers(orchestrator("status")) == without_numbers(shown)
    [outputs] = workspace.glob("*/experiment_data/output.csv")
    assert len(outputs.read_text().splitlines()) == 101
