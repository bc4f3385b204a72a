"""Scratch folders: each try of an experiment has a folder of its own for the files of its programs.

::

    <project_dir>/scratch/<step>[@<iteration>]/<label of the experiment>       the first try
    <project_dir>/scratch/<step>[@<iteration>]/<label of the experiment>-2     the second

A folder is created when the user's code asks for it. So an experiment without files costs nothing. Two processes never
get the same folder, also if one was given up and still runs. When an experiment succeeds, the folders of its earlier
tries are removed, too.

Other users may write to the folder of a shared run. So nothing is created or removed by way of a link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import ELOOP, ENOTDIR, EPERM
from itertools import count, takewhile
from pathlib import Path
from typing import Literal, get_args

from orchestrator.table_folder import SCRATCH

__all__ = ["KEEP", "Keep", "Scratch"]

Keep = Literal["on_error", "always", "never"]
"""Which scratch folders are kept: those of failed experiments, all, or none."""

KEEP: tuple[str, ...] = get_args(Keep)


class Scratch:
    """The scratch folder of one try of an experiment.

    Parameters
    ----------
    project_dir : Path
        Folder of the table.
    name : str
        Name of the folder: the label of the experiment.
    step : str, default ""
        Address of the step run. Empty outside of a pipeline.
    keep : {"on_error", "always", "never"}, default "on_error"
        When the folder is kept at the end.
    """

    def __init__(self, project_dir: Path, name: str, step: str = "", keep: Keep = "on_error") -> None:
        # Paths are made when there is a folder: those of an experiment without files take longer than it.
        self._project_dir = project_dir
        self._step = step
        self._name = name
        self._keep = keep
        self._number = 0

    @property
    def _above(self) -> list[Path]:
        top = self._project_dir / SCRATCH
        return [top, top / self._step] if self._step else [top]

    @property
    def path(self) -> Path | None:
        """The folder; None if it was not created."""
        return self._above[-1] / self._try(self._number) if self._number else None

    @property
    def path_if_failed(self) -> Path | None:
        """The folder if it is kept when the experiment fails; None if not, or if it was not created."""
        return None if self._keep == "never" else self.path

    def create(self) -> Path:
        """Return the folder. The first call creates it, empty.

        Raises
        ------
        OSError
            If it can't be created, or a folder above it is a link or belongs to another user.
        """
        if not self._number:
            self._above[0].parent.mkdir(parents=True, exist_ok=True)
            for folder in self._above:
                # Not writable for others, whatever the umask.
                with suppress(FileExistsError):
                    folder.mkdir(mode=0o755)
            with self._opened() as parent:
                self._number = next(number for number in count(1) if _is_new(self._try(number), parent))
        return self._above[-1] / self._try(self._number)

    def find(self) -> None:
        """Take the folder of the last try, whose process has died: this process ends the experiment."""
        exist = takewhile(lambda number: (self._above[-1] / self._try(number)).is_dir(), count(1))
        self._number = max(exist, default=0)

    def end(self, *, has_failed: bool) -> None:
        """Remove the folder and those of earlier tries, if that is the rule.

        Parameters
        ----------
        has_failed : bool
            Whether the experiment has failed.
        """
        if not self._number or self._keep == "always" or (has_failed and self._keep == "on_error"):
            return
        with suppress(OSError), self._opened() as parent:
            # From the last to the first, so that an interruption leaves no gap.
            for number in range(self._number, 0, -1):
                _remove(self._try(number), parent)

    def _try(self, number: int) -> str:
        return self._name if number == 1 else f"{self._name}-{number}"

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder that contains this one, by way of the one above it."""
        with ExitStack() as stack:
            descriptor = None
            for folder in self._above:
                descriptor = _open_own(folder, descriptor)
                stack.callback(os.close, descriptor)
            assert descriptor is not None
            yield descriptor


def _open_own(path: Path, above: int | None) -> int:
    name = path if above is None else path.name
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        if error.errno in (ELOOP, ENOTDIR):
            raise NotADirectoryError(error.errno, "it is a link, or no folder: remove it", str(path)) from None
        raise
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(EPERM, "it belongs to another user: move it away", str(path))
    return descriptor


def _is_new(name: str, parent: int) -> bool:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _remove(name: str, parent: int) -> None:
    import shutil  # not needed by experiments without files

    # A file that a program still has open on NFS leaves a rest: that is no reason to fail.
    shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
