"""Load the code of a run from its bundle. Every task imports this module, so it imports little itself.

A process that loads code first gets the import context of the submission and the kept text of the user's modules, and
imports the study. Steps are then unpickled. The keyword arguments of a step are in its pickle; what differs between its
jobs is in the job file (`orchestrator.handoff.jobfile`).
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import io
import json
import os
import sys
from _pickle import Unpickler  # the module `pickle` has slow classes, too
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from orchestrator.damage import LARGEST, NETWORK_ERRORS, Damaged
from orchestrator.data.scratch import Keep
from orchestrator.definition.compiled import read_compiled
from orchestrator.definition.finder import KeptFinder, KeptModule, MetaPath
from orchestrator.definition.import_context import MP_MAIN, PYTHON, ImportContext, free_mp_main, working_in
from orchestrator.errors import DataError, NotAllowed, StudyChanged, StudyError
from orchestrator.loading import EndOfLoading, loading
from orchestrator.sha256 import sha256_of
from orchestrator.trust import check_run_folder, open_private
from orchestrator.workspace import relocated, root_of_bundles

__all__ = ["CODE", "MAIN", "MODULES", "Bundle", "LoadedStep", "function_of", "globals_of"]

MODULES, MAIN, CODE = "modules.json", "main.pkl", "study.code"
"""Names of files: the kept modules; of the study, the values that importing does not define, and its compiled code."""

_UPDATE_HINT = "Bundle the code again: orchestrator resume RUN --update STUDY.py"


class LoadedStep(NamedTuple):
    """The block of a step with its kwargs and its rule for scratch folders, or the `until` function of a loop."""

    block: Any
    kwargs: dict[str, Any]
    keep_scratch: Keep = "on_error"


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
        """Make this process ready to load the run's code: restore the import context, and import the study.

        `load_step` does it, too; a second call changes nothing.

        Raises
        ------
        DataError
            If a file has changed or belongs to another user, or another version of Python wrote it.
        StudyChanged
            If this process has already imported a module of the study with another text.
        StudyError
            If the study can't be imported here. The exception that it raised is the cause.
        """
        global _prepared, _main
        if _prepared == self._folder:
            return
        index = self._index()
        context = self._context(index)
        if context.python != PYTHON:
            raise DataError(
                f"the run's code was pickled by Python {context.python}, but {sys.executable} is Python {PYTHON}.",
                "Use the same version of Python in the jobs: SlurmCluster(runner=..., env_setup=[...])\n"
                + _UPDATE_HINT,
            )
        modules = self._kept(index)
        is_live = _is_live(context)
        _check_imported(modules, context, is_live=is_live)
        context.restore()
        others = [finder for finder in sys.meta_path if not isinstance(finder, KeptFinder)]
        code = None if is_live else self._compiled_study(modules.get(context.main), index)
        sys.meta_path = MetaPath([KeptFinder(modules, context.main, code), *others])
        if context.main:
            later = self._read_checked(MAIN, index) if MAIN in index["files"] and not is_live else None
            with _own_errors(Path(context.main_file).name):
                _main = sys.modules["__main__"] if is_live else _import_main(context)
                if later is not None:
                    vars(_main).update(_loads(later))
        else:
            _main = _make_main()
        _prepared = self._folder

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
        DataError, StudyChanged, StudyError
            As `prepare`; also if the bundle has no code of the step.
        """
        index = self._index()
        if path in index["missing"]:
            raise DataError(
                f"the bundle has no code of step {path}: {index['missing'][path]}.",
                "Resume the run from its script, with the same project_job.",
            )
        self.prepare()
        content = self._read_checked(f"{path}.pkl", index)
        with _own_errors(f"the code of step {path}"):
            return LoadedStep(*_loads(content))

    def modules(self) -> dict[str, KeptModule]:
        """Return the kept modules, by name."""
        return self._kept(self._index())

    def study_name(self) -> str:
        """Return the name of the module that is the study; empty if there is none."""
        return self._context(self._index()).main

    def pickle_of(self, path: str) -> bytes | None:
        """Return the stored pickle of the step at a path of the plan; None if it could not be pickled."""
        index = self._index()
        return self._read_checked(f"{path}.pkl", index) if f"{path}.pkl" in index["files"] else None

    def is_pickled_as(self, path: str, content: bytes | None) -> bool:
        """Whether this is the stored pickle of the step, or `until`, at a path of the plan."""
        return content is not None and self._index()["files"].get(f"{path}.pkl") == sha256_of(content)

    def working_folder(self) -> Path | None:
        """Return the folder that the run was submitted in; None if this process stands in it, or it is not here."""
        context = self._context(self._index())
        return Path(context.cwd) if context.has_other_cwd() else None

    def _compiled_study(self, study: KeptModule | None, index: dict[str, Any]) -> CodeType | None:
        if study is None or study.text is None or CODE not in index["files"]:
            return None
        return read_compiled(self._read_checked(CODE, index), study.text, study.origin or "")

    def _kept(self, index: dict[str, Any]) -> dict[str, KeptModule]:
        kept = {name: KeptModule(*values) for name, values in json.loads(self._read_checked(MODULES, index)).items()}
        here = self._to_new_path(index)
        return kept if here is None else {name: module.moved(here) for name, module in kept.items()}

    def _context(self, index: dict[str, Any]) -> ImportContext:
        context = ImportContext(**index["context"])
        here = self._to_new_path(index)
        return context if here is None else context.moved(here)

    def _to_new_path(self, index: dict[str, Any]) -> Callable[[str], str] | None:
        """Return the function that turns a recorded path into one of now; None if the workspace was not moved."""
        root = root_of_bundles(self._folder.parent)
        return None if index["root"] == root else partial(relocated, old_root=index["root"], root=root)

    def _index(self) -> dict[str, Any]:
        content = self._read("bundle.json", LARGEST)
        if sha256_of(content) != self._folder.name:
            raise DataError(f"{self._folder / 'bundle.json'} was changed after it was written.", _UPDATE_HINT)
        index: dict[str, Any] = json.loads(content)
        return index

    def _read_checked(self, name: str, index: dict[str, Any]) -> bytes:
        content = self._read(name, index["sizes"].get(name, 0))
        if sha256_of(content) != index["files"].get(name):
            raise DataError(f"{self._folder / name} was changed after it was written.", _UPDATE_HINT)
        return content

    def _read(self, name: str, size: int) -> bytes:
        try:
            with open_private(self._folder / name) as file:
                return file.read(size + 1)  # a longer one has another digest
        except NotAllowed as error:
            # New code would be stored in the same folder.
            check_run_folder(self._folder.parents[2])
            raise NotAllowed(error.message, f"{error.hint}\n{_UPDATE_HINT}") from None
        except OSError as error:
            raise DataError(f"the run's code can't be read: {error}.", _UPDATE_HINT) from error
        except Damaged as error:
            raise DataError(f"the run's code can't be read: {self._folder / name}: {error}.", _UPDATE_HINT) from error


# --- the study ----------------------------------------------------------------------------------

_prepared: Path | None = None
"""The bundle whose code this process can load."""

_main: ModuleType | None = None
"""The study of that bundle."""


def globals_of(name: str) -> dict[str, Any]:
    """Return the global names of a module; those of the study for `__main__`."""
    return vars(_main if name == "__main__" and _main is not None else import_module(name))


def function_of(module: str, name: str) -> Any:
    """Return the function of the data generator with a name in a module; in the study for `__main__`."""
    return _find(_main if module == "__main__" and _main is not None else import_module(module), name).f


def _find(module: Any, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and _main is not None:
            return _find(_main, name)
        return super().find_class(module, name)


def _loads(content: bytes) -> Any:
    return _Unpickler(io.BytesIO(content)).load()


def _is_live(context: ImportContext) -> bool:
    """Whether the run's study is the `__main__` of this process."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return bool(context.main) and file is not None and str(Path(file).absolute()) == context.main_file


def _check_imported(modules: dict[str, KeptModule], context: ImportContext, *, is_live: bool) -> None:
    """Raise `StudyChanged` if this process has imported a kept module with another text."""
    imported = {name: kept for name, kept in modules.items() if name in sys.modules and name != MP_MAIN}
    if is_live:
        imported[context.main] = modules[context.main]
    if not imported:
        return
    from orchestrator.definition.modules import changed_modules  # not needed in a worker

    changed = changed_modules(imported)
    if changed:
        raise StudyChanged(
            f"This process has imported {changed[0]}, which has changed since the run's code was stored.",
            "Resume the run in a shell: orchestrator resume RUN",
        )


def _import_main(context: ImportContext) -> ModuleType:
    """Import the study under its name. In a process of ours it also becomes `__main__`, as pickles may call it."""
    if context.main == MP_MAIN:
        free_mp_main()
    start = Path(context.start)
    with working_in(start) if start.is_dir() else nullcontext():
        module = import_module(context.main)
    if context.main == MP_MAIN:
        module.__spec__ = None  # as of a script: a child process of multiprocessing then runs the file
    if is_ours(sys.modules["__main__"]):
        sys.modules["__main__"] = sys.modules[MP_MAIN] = module
    return module


def _make_main() -> ModuleType:
    """Make the module that gets the names of code without a file, so that pickles in a step find them there."""
    module = type(sys)("__main__")
    if is_ours(sys.modules["__main__"]):
        sys.modules["__main__"] = module
    return module


def is_ours(main: ModuleType) -> bool:
    """Whether the `__main__` of this process is a program of orchestrator."""
    spec = getattr(main, "__spec__", None)
    name = spec.name if spec is not None else Path(getattr(main, "__file__", None) or "").name
    return bool(name.partition(".")[0] == "orchestrator")


@contextmanager
def _own_errors(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into a `StudyError`, whose cause it is.

    Errors that may pass are raised as they are.
    """
    try:
        with loading(again=True):
            yield
    except MemoryError:
        raise
    except (Exception, SystemExit, EndOfLoading) as error:
        if isinstance(error, OSError) and error.errno in NETWORK_ERRORS:
            raise
        raise StudyError(
            f"{what} can't be imported on {os.uname().nodename}: {type(error).__name__}: {error}", _cure(error)
        ) from error


def _cure(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            f"Install it for {sys.executable}, or use another Python in the jobs: SlurmCluster(runner=..., "
            "env_setup=[...])"
        )
    return _UPDATE_HINT
