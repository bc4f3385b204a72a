"""Create a run's bundle: one pickle per step, the text of the user's modules, and the import context.

Each step has its own pickle, so that a task does not load the objects of other steps. Functions and classes are pickled
by name and found by importing the study and its modules, whose text is that of the submission. So a queued run uses the
code that it was submitted with.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.atomic import PRIVATE, new_folder, write_atomically, write_synced
from orchestrator.damage import Damaged
from orchestrator.definition.bundle import CODE, MAIN, MODULES
from orchestrator.definition.compiled import compiled
from orchestrator.definition.import_context import ImportContext
from orchestrator.definition.later_names import later_names
from orchestrator.definition.modules import KeptCode, StudySource, import_context, keep_modules
from orchestrator.definition.pickler import Main, dumps, unpicklable_part
from orchestrator.definition.pipeline import step_name
from orchestrator.errors import DataError, DefinitionError
from orchestrator.sha256 import sha256_of
from orchestrator.trust import read_private
from orchestrator.workspace import root_of_bundles

__all__ = ["PreparedBundle", "prepare_bundle"]


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle in memory.

    Attributes
    ----------
    pickles : dict of str to bytes
        The pickle of each step, by its path in the plan.
    missing : dict of str to str
        Steps that can't be pickled, with the reason. They can run only in the process that defines them.
    context : ImportContext
        Where the modules come from, and how the study was started.
    code : KeptCode
        The user's modules.
    later : bytes or None
        The pickle of the values of the study's names that importing it does not define.
    """

    pickles: dict[str, bytes]
    missing: dict[str, str]
    context: ImportContext
    code: KeptCode
    later: bytes | None = None

    def write(self, folder: Path) -> str:
        """Write the bundle completely or not at all. A bundle that exists already is not changed.

        Parameters
        ----------
        folder : Path
            Folder of all bundles of the run.

        Returns
        -------
        str
            Digest of the bundle: the name of its folder in `folder`.
        """
        files = {f"{path}.pkl": content for path, content in self.pickles.items()}
        files[MODULES] = json.dumps(self.code.modules).encode()
        if self.later is not None:
            files[MAIN] = self.later
        if code := self._compiled_study():
            files[CODE] = code
        index = {
            "files": {name: sha256_of(content) for name, content in sorted(files.items())},
            "sizes": {name: len(content) for name, content in sorted(files.items())},
            "missing": self.missing,
            "context": self.context._asdict(),
            # After the workspace was moved, the paths are searched at the same place in the new one.
            "root": root_of_bundles(folder),
        }
        text = json.dumps(index, indent=1, sort_keys=True).encode()
        digest = sha256_of(text)
        files["bundle.json"] = text
        if (folder / digest).is_symlink() or not (folder / digest).is_dir():
            (folder / digest).unlink(missing_ok=True)
        else:
            _repair(folder / digest, files)
            return digest
        with new_folder(folder / digest) as inside:
            for name, content in files.items():
                write_synced(inside / name, content, mode=PRIVATE)
        return digest

    def _compiled_study(self) -> bytes:
        study = self.code.modules.get(self.context.main)
        return b"" if study is None or study.text is None else compiled(study.text, study.origin or "")


def _repair(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files again that have been changed or removed, or in whose place something else is."""
    for name, content in files.items():
        with suppress(OSError, DataError, Damaged):
            if read_private(folder / name) == content:
                continue
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name)
        write_atomically(folder / name, content, PRIVATE)


def prepare_bundle(
    by_path: Mapping[str, Any],
    study: StudySource | None,
    *,
    argv: list[str] | None = None,
    is_main: bool = False,
    needs_pickles: bool = False,
) -> PreparedBundle:
    """Pickle every step, and read the user's modules.

    Parameters
    ----------
    by_path : mapping of str to Step or callable
        Steps, and `until` functions of loops, by their path in the plan.
    study : StudySource or None
        The study file; None if there is none, as in a notebook.
    argv : list of str, optional
        `sys.argv` of the study. By default that of this process.
    is_main : bool, default False
        Whether the study is the `__main__` of this process, and was not imported.
    needs_pickles : bool, default False
        Whether all steps run in other processes, so that all need a pickle. By default only parallel steps
        and those with a timeout do.

    Returns
    -------
    PreparedBundle
        The bundle.

    Raises
    ------
    DefinitionError
        If a step that runs in other processes can't be pickled. The message names the attribute.
    """
    code = keep_modules(study)
    main, later = Main(), None
    if study is not None and is_main:
        names, used = later_names(code.modules[study.name].text or "", vars(sys.modules["__main__"]))
        main = Main(study.file, names)
        later = _pickle_values(names & used, main)
    pickles: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for path, item in by_path.items():
        block, kwargs, *rule = (
            (item.block, dict(item.kwargs), item.keep_scratch) if hasattr(item, "block") else (item, {})
        )
        try:
            pickles[path] = dumps((block, kwargs, *rule), main)
        except Exception as error:
            reason = f"{unpicklable_part(block, kwargs, main)} ({type(error).__name__}: {error})"
            if needs_pickles or getattr(item, "parallel", False) or getattr(item, "timeout", None) is not None:
                name = step_name(item) if hasattr(item, "block") else path
                raise DefinitionError(
                    f"Step {name!r} runs in other processes, but it can't be pickled: {reason}.",
                    "Create that object inside the function that uses it, or remove it in __getstate__.",
                ) from error
            missing[path] = f"it can't be pickled: {reason}"
    context = import_context(study, list(sys.argv) if argv is None else argv)
    return PreparedBundle(pickles, missing, context, code, later)


def _pickle_values(names: set[str], main: Main) -> bytes | None:
    """Pickle the values of names in `__main__`; a value that can't be pickled is left out."""
    values = vars(sys.modules["__main__"])
    able: dict[str, Any] = {}
    for name in sorted(names & values.keys()):
        try:
            dumps(values[name], main)
        except Exception:
            continue
        able[name] = values[name]
    return dumps(able, main) if able else None
