"""f3dasm in its own virtual environment: we do not depend on its dependencies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENT = "f3dasm==2.4.0"


@pytest.fixture(scope="session")
def f3dasm_python(request):
    """Path of a Python that has f3dasm: of ORCHESTRATOR_F3DASM_PYTHON, or of a cached venv."""
    given = os.environ.get("ORCHESTRATOR_F3DASM_PYTHON")
    if given:
        return Path(given)
    folder = Path(request.config.cache.mkdir("f3dasm-2.4.0")).absolute()
    python = folder / "venv" / "bin" / "python"
    if not (folder / "complete").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder / "venv")],
            [str(python), "-m", "pip", "install", "--quiet", REQUIREMENT],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(
                    f"{REQUIREMENT} could not be installed for the interop tests (is PyPI reachable?). "
                    "Set ORCHESTRATOR_F3DASM_PYTHON to a Python that has it.\n" + done.stderr[-2000:],
                    pytrace=False,
                )
        (folder / "complete").touch()
    return python


@pytest.fixture
def run_f3dasm(f3dasm_python, tmp_path):
    """Run a script with f3dasm in the folder ``tmp_path``; return what it printed."""

    def run(script):
        command = [str(f3dasm_python), "-W", "ignore", "-c", script]
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
