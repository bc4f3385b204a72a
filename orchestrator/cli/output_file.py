"""The folder of a file that a command writes: `-o FILE`, `--csv FILE`."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.render import echo

__all__ = ["make_folder_of"]


def make_folder_of(path: Path) -> None:
    """Make the folder of a file if it is missing, and say so, because its name may be a mistake.

    Raises
    ------
    OSError
        If it can't be made.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        echo(f"Made the folder {path.parent}.", err=True)
