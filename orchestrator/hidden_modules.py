"""A file of the user that hides a module of Python: `random.py` beside the study is imported in place of Python's."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from orchestrator.errors import StudyError

__all__ = ["hidden_module"]

_STDLIB = Path(os.__file__).resolve().parent


def hidden_module(error: BaseException) -> StudyError | None:
    """Return the error that names the file, if a name is missing because a file hides a module of Python.

    Parameters
    ----------
    error : BaseException
        What was raised, by whichever module. The exceptions that led to it are looked at, too.
    """
    for one in _chain(error):
        name, path = _module(one)
        if name in sys.stdlib_module_names and path is not None and _hides(path, name):
            return _error(name, path, one)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _module(error: BaseException) -> tuple[str, Path | None]:
    """Return the name and the file of the module in which an import or an attribute was not found."""
    name, module = "", None
    if isinstance(error, ImportError):
        name = str(error.name).partition(".")[0]
        module = sys.modules.get(name)
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        name, module = error.obj.__name__, error.obj
    path = getattr(error, "path", None) or getattr(module, "__file__", None)
    return name, _of_package(Path(path)) if isinstance(path, str) else None


def _of_package(file: Path) -> Path:
    return file.parent if file.stem == "__init__" else file


def _hides(path: Path, name: str) -> bool:
    return path.stem == name and not path.resolve().is_relative_to(_STDLIB)


def _error(name: str, path: Path, error: BaseException) -> StudyError:
    file = Path(path.name) if path.parent == Path.cwd() else path
    renamed = file.with_name(f"my_{file.name}")
    while os.path.lexists(renamed):
        renamed = renamed.with_name(f"my_{renamed.name}")
    return StudyError(
        f"{file} hides the module {name} of Python, which has the same name: {type(error).__name__}: {error}.",
        f"Rename it, also where you import it: mv {shlex.quote(str(file))} {shlex.quote(str(renamed))}\n"
        "Then type the command again; if a run has stopped: orchestrator resume",
    )
