"""Virtual environments that a test makes, filled from the package index."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

# pip needs the real home folder: its cache and the user's choice of package index are there.
# Python caches the bytecode of what it imports: this is a small part of what pip would compile.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# Several times as fast, but it does not read pip's configuration: where it can't reach an index, pip does.
UV = (sys.executable, "-m", "uv")


def make_environment(
    folder: Path, *requirements: str | Path, has_ours: bool = False
) -> subprocess.CompletedProcess[str]:
    """Make a virtual environment with these packages and their dependencies; return how that ended.

    With `has_ours`, it also has the packages of this environment, and only what these lack is installed.
    """
    done = _run(sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
    if done.returncode:
        return done
    if has_ours:
        [packages] = folder.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "bin" / "python"
    if not has_ours:  # uv sees only what is in the folder of the environment itself
        done = _run(*UV, "pip", "install", "--python", python, "--quiet", *requirements)
        if done.returncode == 0:
            return done
    return _run(*PIP, "--python", python, "install", "--no-compile", "--quiet", *requirements)


def build_wheel(project: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the wheel of a project into a folder; return how that ended."""
    done = _run(*UV, "build", "--wheel", "--quiet", "--out-dir", folder, project)
    return done if done.returncode == 0 else _run(*PIP, "wheel", "--no-deps", "--wheel-dir", folder, project)


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
