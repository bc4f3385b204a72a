"""The code that a run keeps, as a job reads it: loaded by hundreds of tasks at once, so it loads little itself."""

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
"""Whose bytecode a pickle of this process holds: another version may misread it without a word."""

_ANEW = "Give the run its code anew: orchestrator resume RUN --update STUDY.py"


class LoadedStep(NamedTuple):
    """A step's block, or a loop's question, with the step's kwargs."""

    block: Any
    kwargs: dict[str, Any]


class Bundle:
    """A bundle on disk.

    Parameters
    ----------
    folder : Path
        Its name is its digest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load_step(self, path: str) -> LoadedStep:
        """Load one step.

        Raises
        ------
        DataError
            If the run keeps no code for it, a file is not what was written, or another version of Python wrote it.
        """
        index = self._index()
        if path in index["missing"]:
            raise DataError(
                f"the run keeps no code for step {path}: {index['missing'][path]}.",
                "Resume the run from its script, with the same project_job.",
            )
        if index.get("python", PYTHON) != PYTHON:
            raise DataError(
                f"the run's code was pickled by Python {index['python']}, but {sys.executable} is Python {PYTHON}.",
                "Let jobs run the Python that submits: SlurmCluster(runner=..., env_setup=[...])\n" + _ANEW,
            )
        name = f"{path}.pkl"
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != index["files"].get(name):
            raise DataError(f"{self._folder / name} is not what was written at submission.", _ANEW)
        sources = str(self._folder / "sources")
        if sources not in sys.path:
            sys.path.insert(0, sources)
        block, kwargs = pickle.loads(content)
        return LoadedStep(block, kwargs)

    def _index(self) -> dict[str, Any]:
        content = self._read("bundle.json")
        if not is_own(self._folder):
            raise DataError(f"{self._folder} belongs to {owner_of(self._folder)}: no code is taken from there.", _ANEW)
        if hashlib.sha256(content).hexdigest() != self._folder.name:
            raise DataError(f"{self._folder / 'bundle.json'} is not what was written at submission.", _ANEW)
        index: dict[str, Any] = json.loads(content)
        return index

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"the run's code can't be read: {error}.", _ANEW) from error
