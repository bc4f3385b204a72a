"""The suite in several processes: tests of one running cluster stay together, and a killed run leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.parallel import shared_out
from tests.processes import lives
from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slow

FIXTURES = """
import pytest

@pytest.fixture
def sandbox(): pass

@pytest.fixture
def sandbox_with_accounting(): pass

@pytest.fixture
def studies(sandbox): pass
"""

TESTS = """
import pytest

@pytest.mark.parametrize("k", range(9))
def test_plain(k, studies): pass

@pytest.mark.parametrize("k", range(9))
def test_accounting(k, sandbox_with_accounting): pass

@pytest.mark.parametrize("k", range(9))
@pytest.mark.parametrize("site", ["studies"])
def test_either(k, site, request): request.getfixturevalue(site)

@pytest.mark.parametrize("k", range(9))
def test_neither(k): pass
"""

PLUGIN = Path(__file__).resolve().parents[1] / "parallel.py"


@pytest.fixture
def pytest_command(tmp_path):
    """Return a function that writes a suite and returns the command that runs it in three processes."""
    shutil.copy(PLUGIN, tmp_path / "parallel.py")
    (tmp_path / "pytest.ini").touch()

    def command(path: str, text: str) -> list[str]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
        return [sys.executable, "-m", "pytest", "-p", "parallel", "-n", "3", "-v"]

    return command


def test_one_process_runs_all_tests_of_a_running_cluster(pytest_command, tmp_path):
    (tmp_path / "conftest.py").write_text(FIXTURES)
    for name in ("test_one.py", "test_two.py"):
        command = pytest_command(name, TESTS)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    passed = [line.split() for line in done.stdout.splitlines() if " PASSED " in line]
    assert len(passed) == 2 * 4 * 9
    for cluster in ("one.py::test_plain", "two.py::test_plain", "test_accounting", "test_either"):
        processes = {process for process, *_, test in passed if cluster in test}
        assert len(processes) == 1


def test_the_files_of_tests_are_shared_out_among_the_clusters():
    tests = {Path("a"): 9, Path("b"): 5, Path("c"): 3, Path("d"): 2}
    cluster_of = shared_out(Counter(tests), 2)
    assert [{path.name for path in tests if cluster_of[path] == n} for n in (0, 1)] == [{"a"}, {"b", "c", "d"}]


def test_a_killed_run_leaves_no_process(pytest_command, tmp_path):
    text = "import os, pathlib, time\ndef test_it(): pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    command = pytest_command("test_long.py", text)
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    try:
        process.kill()
        process.wait()
        wait_until(lambda: not lives(pid))
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)
