"""What `scripts/demo`, `scripts/test` and `scripts/check` say on a machine that lacks something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "dirname", "env", "mkdir")


@pytest.fixture
def bare_machine(tmp_path: Path):
    """Copy the scripts into a folder with a space; run them with a PATH that holds next to nothing."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    path = tmp_path / "bin"
    path.mkdir()
    for tool in TOOLS:
        (path / tool).symlink_to(str(shutil.which(tool)))

    def install(name: str, body: str) -> None:
        (path / name).write_text(f"#!/bin/bash\n{body}\n")
        (path / name).chmod(0o755)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [checkout / "scripts" / script],
            env={"PATH": str(path), "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return install, run


# A Python as Debian ships it: without the modules that make virtual environments.
WITHOUT_ENSUREPIP = f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"'


@pytest.mark.parametrize("script", ["demo", "test"])
def test_no_python(bare_machine, script):
    install, run = bare_machine
    install("python3", "exit 1")  # too old
    done = run(script)
    assert done.returncode == 1
    assert done.stderr == (
        "No Python 3.11 or newer was found (tried python3.13, 3.12, 3.11, python3, python).\n"
        "Install one, put it on PATH, then run this script again.\n"
    )


def test_no_venv_module_and_no_rights(bare_machine):
    install, run = bare_machine
    install("python3", WITHOUT_ENSUREPIP)
    install("apt-get", "exit 1")
    install("id", "echo 1000")
    done = run("test")
    package = f"python3.{sys.version_info.minor}-venv"
    assert done.returncode == 1
    assert f"the package {package} is missing" in done.stderr
    assert f"\n  sudo apt-get install {package}\n" in done.stderr


def test_no_venv_module_and_root(bare_machine, tmp_path):
    install, run = bare_machine
    install("python3", WITHOUT_ENSUREPIP)
    install("id", "echo 0")
    install("apt-get", f'echo "$*" >> "{tmp_path}/asked"')
    done = run("test")
    package = f"python3.{sys.version_info.minor}-venv"
    assert f"install -y -qq --no-install-recommends {package}" in (tmp_path / "asked").read_text()
    assert done.returncode == 1
    assert "still cannot make virtual environments" in done.stderr


def test_no_venv_module_and_no_apt(bare_machine):
    install, run = bare_machine
    install("python3", WITHOUT_ENSUREPIP)
    done = run("demo")
    assert done.returncode == 1
    assert "modules venv and ensurepip are missing" in done.stderr


def test_check_before_test(bare_machine):
    _, run = bare_machine
    done = run("check")
    assert done.returncode == 1
    assert done.stderr.endswith("Type:\n  scripts/test\n")
