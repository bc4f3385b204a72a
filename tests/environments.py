"""Virtual environments that a test makes, filled from the package index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# pip needs the real home folder: its cache and the user's choice of package index are there.
# Python caches the bytecode of what it imports: this is a small part of what pip would compile.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def make_environment(folder: Path, *requirements: str | Path) -> subprocess.CompletedProcess[str]:
    """Make a virtual environment with these packages and their dependencies, nothing else; return how that ended."""
    python = folder / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", "--clear", "--without-pip", folder],
        [*PIP, "--python", python, "install", "--no-compile", "--quiet", *requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        if done.returncode:
            break
    return done
