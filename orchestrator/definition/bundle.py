"""Read a run's bundle: the code of its steps. Every task imports this module, so it imports little itself.

The keyword arguments of a step are in its pickle; what differs between its jobs is in the job file
(`orchestrator.handoff.jobfile`).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import DataError
from orchestrator.trust import is_own, owner_of

__all__ = ["PYTHON", "Bundle", "LoadedStep"]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Version of the bytecode in this process's pickles; another version may read them wrongly without an error."""

_UPDATE_HINT = "Bundle the code again: orchestrator resume RUN --update STUDY.py"


class LoadedStep(NamedTuple):
    """The block of a step with its kwargs, or the `until` function of a loop."""

    block: Any
    kwargs: dict[str, Any]


class Bundle:
    """A bundle on disk.

    Parameters
    ----------
    folder : Path
        The bundle's folder; its name is the bundle's digest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make this process ready to load the run's code. `load_step` does it, too; a second call changes nothing."""
        sources = str(self._folder / "sources")
        if sources not in sys.path:
            sys.path.insert(0, sources)

    def load_step(self, path: str) -> LoadedStep:
        """Unpickle one step, after its file has been verified.

        Parameters
        ----------
        path : str
            Path of the step in the plan.

        Returns
        -------
        LoadedStep
            The block and its kwargs.

        Raises
        ------
        DataError
            If the bundle has no code of the step, a file has changed or belongs to another user, or another version of
            Python wrote it.
        """
        index = self._index()
        if path in index["missing"]:
            raise DataError(
                f"the bundle has no code of step {path}: {index['missing'][path]}.",
                "Resume the run from its script, with the same project_job.",
            )
        if index.get("python", PYTHON) != PYTHON:
            raise DataError(
                f"the run's code was pickled by Python {index['python']}, but {sys.executable} is Python {PYTHON}.",
                "Use the same version of Python in the jobs: SlurmCluster(runner=..., env_setup=[...])\n"
                + _UPDATE_HINT,
            )
        name = f"{path}.pkl"
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != index["files"].get(name):
            raise DataError(f"{self._folder / name} was changed after it was written.", _UPDATE_HINT)
        self.prepare()
        block, kwargs = pickle.loads(content)
        return LoadedStep(block, kwargs)

    def _index(self) -> dict[str, Any]:
        content = self._read("bundle.json")
        if not is_own(self._folder):
            raise DataError(
                f"{self._folder} belongs to {owner_of(self._folder)}, so its code is not run.", _UPDATE_HINT
            )
        if hashlib.sha256(content).hexdigest() != self._folder.name:
            raise DataError(f"{self._folder / 'bundle.json'} was changed after it was written.", _UPDATE_HINT)
        index: dict[str, Any] = json.loads(content)
        return index

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"the run's code can't be read: {error}.", _UPDATE_HINT) from error
