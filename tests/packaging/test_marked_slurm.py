"""Tests marked `slurm` are skipped with a reason if SLURM is missing, and CI fails then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
import pytest
{mark} = pytest.mark.slurm
def test_one(): pass
def test_two(): pass
"""


@pytest.fixture
def suite(tmp_path):
    """Return a function that runs two marked tests, on a machine that lacks the named packages."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "tests" / "slurm").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "marked_slurm.py", tmp_path / "tests")
    (tmp_path / "tests" / "slurm" / "test_marked.py").write_text(SUITE.format(mark="pytestmark"))
    (tmp_path / "tests" / "slurm" / "test_unmarked.py").write_text(SUITE.format(mark="unused"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slurm\n")

    def run(*arguments: str, missing: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "scripts" / "slurm-sandbox").write_text(f"print({missing!r})")
        command = [sys.executable, "-m", "pytest", "-rs", "-p", "tests.marked_slurm", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_marked_tests_are_skipped_and_the_reason_says_what_to_install(suite):
    done = suite(missing="slurmctld\nmunge")
    assert done.returncode == 0
    assert "2 passed, 2 skipped" in done.stdout
    assert "needs a real SLURM: sudo apt-get install slurmctld munge" in done.stdout


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_suite_passes_if_enough_marked_tests_pass(suite, processes):
    done = suite("--least-slurm", "2", "-n", processes)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "missing", "passed"),
    [
        (["--least-slurm", "3"], "", 2),  # only marked tests count, though a folder is called slurm, too
        (["--least-slurm", "3", "-n", "2"], "", 2),
        (["--least-slurm", "2"], "munge", 0),
        (["--least-slurm", "2", "-k", "one"], "", 1),
        (["--least-slurm", "1", "tests/slurm/test_unmarked.py"], "", 0),
    ],
    ids=["fewer than asked for", "fewer in two processes", "skipped", "left out", "none there"],
)
def test_the_suite_fails_if_too_few_marked_tests_pass(suite, arguments, missing, passed):
    done = suite(*arguments, missing=missing)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"{passed} tests marked slurm passed, fewer than {arguments[1]}" in done.stdout
