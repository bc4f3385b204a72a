"""What the benchmarks share: the Python with the package, and the aims that figures are compared with."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_missed: list[str] = []


def use_venv() -> None:
    """Continue in the Python of .venv, unless this one has the required packages."""
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        python = ROOT / ".venv" / "bin" / "python"
        if not python.exists():
            sys.exit(f"There is no {python} yet. Type:\n  scripts/test")
        os.execv(python, [str(python), *sys.argv])


def f3dasm_python() -> str:
    """Return a Python with f3dasm 2.4.0: in a folder of this user, where no other user can put a program."""
    folder = ROOT / ".bench" / "f3dasm-2.4.0"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Making {folder} with f3dasm 2.4.0", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "f3dasm==2.4.0"], check=True)
    return str(python)


@contextmanager
def started_sandbox(folder: Path, options: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Start a SLURM cluster of this machine in a folder; return the environment of its users."""
    sandbox = [sys.executable, str(ROOT / "scripts" / "slurm-sandbox")]
    done = subprocess.run([*sandbox, "up", "--dir", folder, *options], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    try:
        exports = [shlex.split(line)[1].partition("=") for line in done.stdout.splitlines()]
        # Remove settings of the caller; without cached bytecode, every task would compile its modules.
        others = ("SLURM_", "SBATCH_", "ORCHESTRATOR_", "NOTED_", "PYTHONDONTWRITEBYTECODE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        yield clean | {name: value for name, _, value in exports}
    finally:
        subprocess.run([*sandbox, "down", "--dir", folder], check=True)


def aim(text: str, is_reached: bool) -> None:
    """Print whether an aim is reached."""
    print(f"  aim: {text}: {'reached' if is_reached else 'MISSED'}")
    if not is_reached:
        _missed.append(text)


def end() -> None:
    """End with exit code 1 if an aim was missed."""
    sys.exit(1 if _missed else 0)
