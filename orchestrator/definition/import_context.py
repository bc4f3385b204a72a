"""The import context of a run: what Python needs besides the text of modules to import the study as its user did.

Every process that loads the user's code restores it first, so it imports little itself. The text of modules comes from
`orchestrator.definition.finder`.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["MP_MAIN", "PYTHON", "ImportContext", "free_mp_main", "working_in"]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Version of the bytecode in this process's pickles; another version may read them wrongly without an error."""

MP_MAIN = "__mp_main__"
"""Name of a study whose file name is not the name of a module, as in a child of `multiprocessing`."""


def free_mp_main() -> None:
    """Let a study get the name `__mp_main__`, which the import of multiprocessing gives to `__main__`."""
    import multiprocessing  # noqa: F401 - now, because it would take the name again

    sys.modules.pop(MP_MAIN, None)


@contextmanager
def working_in(folder: str | Path) -> Iterator[None]:
    """Work in a folder, and then again in the one before, which may have been removed."""
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


class ImportContext(NamedTuple):
    """Where the modules of a run come from, and how its study was started. All values are JSON.

    Attributes
    ----------
    path : list of str
        `sys.path`, absolute.
    installed : list of str
        The entries of `path` that belong to the Python environment: standard library and installed packages.
    cwd : str
        The working folder.
    start : str
        The working folder when the import of the study began; the study may have changed it.
    argv : list of str
        `sys.argv` of the study.
    main : str
        Name under which other processes import the study; empty if it is code without a file, as in a notebook.
    main_file : str
        Path of the study; empty if there is none.
    warnings : list of str
        The warning filters of the command line and of the environment, as `-W` takes them.
    prefix : str
        The Python environment.
    python : str
        Version of Python, as "3.11".
    """

    path: list[str]
    installed: list[str]
    cwd: str
    start: str
    argv: list[str]
    main: str
    main_file: str
    warnings: list[str]
    prefix: str = sys.prefix
    python: str = PYTHON

    def restore(self) -> None:
        """Let this process import modules from where the submitting process did, in the same order.

        In another Python environment, the standard library and the installed packages are those of this process.
        """
        own = list(sys.path)
        if (self.prefix, self.python) == (sys.prefix, PYTHON):
            first, last = self.path, []
        else:
            installed = set(self.installed)
            begin = next((i for i, entry in enumerate(self.path) if entry in installed), len(self.path))
            first = self.path[:begin]
            last = [entry for entry in self.path[begin:] if entry not in installed]
        known = {*first, *last}
        sys.path[:] = [*first, *(entry for entry in own if entry not in known), *last]
        sys.argv[:] = self.argv
        new = [option for option in self.warnings if option not in sys.warnoptions]
        if new:
            import warnings

            sys.warnoptions += new  # for the processes that experiments start
            warnings._processoptions(new)  # type: ignore[attr-defined]

    def moved(self, here: Callable[[str], str]) -> "ImportContext":
        """Return the context after the workspace was moved; `here` turns a path of then into one of now."""
        path, main_file = [here(entry) for entry in self.path], here(self.main_file) if self.main_file else ""
        return self._replace(path=path, cwd=here(self.cwd), start=here(self.start), main_file=main_file)

    def has_other_cwd(self) -> bool:
        """Whether this process stands in another folder than the submitting one did, and that one is here."""
        try:
            return not Path(self.cwd).samefile(".")
        except OSError:
            return False
