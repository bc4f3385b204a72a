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
    return _run(*PIP, "--python", python, "install", "--no-compile", "--quiet", *requirements)


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
