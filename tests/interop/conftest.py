"""f3dasm in a virtual environment beside ours, with what we depend on, so that one process can import both."""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.environments import make_environment

REQUIREMENT = "f3dasm==2.4.0"
ROOT = Path(__file__).resolve().parents[2]


def requirements():
    """Return f3dasm, what its optimizers need, and our dependencies."""
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [REQUIREMENT, "optuna>=4.4", *ours]


@pytest.fixture(scope="session")
def f3dasm_python(request):
    """Path of a Python that has f3dasm: of ORCHESTRATOR_F3DASM_PYTHON, or of a cached venv."""
    given = os.environ.get("ORCHESTRATOR_F3DASM_PYTHON")
    if given:
        return Path(given)
    folder = Path(request.config.cache.mkdir("f3dasm-2.4.0-beside-ours")).absolute()
    python = folder / "venv" / "bin" / "python"
    if not (folder / "complete").exists():
        done = make_environment(folder / "venv", *requirements(), has_ours=True)
        if done.returncode:
            pytest.fail(
                f"{REQUIREMENT} could not be installed for the interop tests (is PyPI reachable?). "
                "Set ORCHESTRATOR_F3DASM_PYTHON to a Python that has it.\n" + done.stderr[-2000:],
                pytrace=False,
            )
        (folder / "complete").touch()
    return python


# f3dasm takes seconds to import: it is imported once, and each script runs in a process that is forked then.
SERVER = """
import json, os, sys
import f3dasm

for line in sys.stdin:
    folder, script, printed = json.loads(line)
    pid = os.fork()
    if pid == 0:
        file = os.open(printed, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(folder)
        exec(compile(script, "script", "exec"), {"__name__": "__main__"})
        break
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.fixture(scope="session")
def f3dasm_server(f3dasm_python):
    """A process that runs scripts with f3dasm."""
    hidden = ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [str(f3dasm_python), "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment) as server:
        yield server
        server.stdin.close()


@pytest.fixture
def run_f3dasm(f3dasm_server, tmp_path, tmp_path_factory):
    """Run a script with f3dasm in the folder ``tmp_path``; return what it printed."""
    printed = tmp_path_factory.mktemp("printed") / "by f3dasm"

    def run(script):
        printed.unlink(missing_ok=True)
        f3dasm_server.stdin.write(json.dumps([str(tmp_path), script, str(printed)]) + "\n")
        f3dasm_server.stdin.flush()
        assert f3dasm_server.stdout.readline() == "0\n", printed.read_text()
        return printed.read_text()

    return run
