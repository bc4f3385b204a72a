"""Which modules belong to the user, and what is kept of them when a run is submitted."""

from __future__ import annotations

import keyword
import os
import sys
import sysconfig
from functools import cache
from importlib import invalidate_caches
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import decode_source, find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from orchestrator.definition.finder import KeptModule
from orchestrator.definition.import_context import MP_MAIN, ImportContext
from orchestrator.loading import FIRST_FOLDER, name_main

__all__ = [
    "KeptCode",
    "StudySource",
    "changed_modules",
    "import_context",
    "is_installed",
    "keep_modules",
    "main_study",
    "module_name_of",
]

_NOT_THE_USERS = frozenset({"orchestrator", "__main__", MP_MAIN, "sitecustomize", "usercustomize"})
"""Top-level names of modules that are not kept: they are loaded before a study is, or are names of the study."""


class StudySource(NamedTuple):
    """Where a study is.

    Attributes
    ----------
    name : str
        Name under which other processes import it.
    file : str
        Absolute path.
    start : str
        The working folder when its import began.
    """

    name: str
    file: str
    start: str


class KeptCode(NamedTuple):
    """What is kept of the user's modules.

    Attributes
    ----------
    modules : dict of str to KeptModule
        The modules that have a text, and namespace packages, by name.
    without_text : dict of str to str
        Modules that have no text here, with their path. A job loads them from there.
    """

    modules: dict[str, KeptModule]
    without_text: dict[str, str]


def is_installed(path: str) -> bool:
    """Whether a path belongs to a Python environment: to its standard library or an installed package."""
    parts = Path(path).parts
    if "site-packages" in parts or "dist-packages" in parts or parts[-1:] == (_library_zip(),):
        return True
    return any(path == folder or path.startswith(folder + os.sep) for folder in _library_folders())


@cache
def _library_folders() -> tuple[str, ...]:
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "scripts")}
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(sorted(folders))


@cache
def _library_zip() -> str:
    return f"python{sys.version_info.major}{sys.version_info.minor}.zip"


# --- the study ----------------------------------------------------------------------------------


def main_study() -> StudySource | None:
    """Return the study that is this process's `__main__`, and let pickles refer to it by its name.

    Returns
    -------
    StudySource or None
        None if `__main__` is no file of the user: in an interactive session, a notebook, a study on standard input, or
        a program such as pytest that imports the study.
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if main is None or not path or not Path(path).is_file():
        return None
    file = _absolute(path)
    spec = getattr(main, "__spec__", None)
    if is_installed(file) or is_installed(os.path.realpath(file)) or (spec and spec.name.startswith("orchestrator.")):
        return None
    name = spec.name if spec is not None and spec.name != "__main__" else module_name_of(file, main)
    for alias in (name, MP_MAIN):
        sys.modules.setdefault(alias, main)
    if sys.modules[name] is main:
        name_main(name)
    return StudySource(name, file, _folder_of_start(path))


def _folder_of_start(script: str) -> str:
    """Return the working folder in which a script was started; it may have changed it since.

    Parameters
    ----------
    script : str
        The `__file__` of the script. Python makes it of the working folder and the path on the command line.
    """
    for word in sys.orig_argv[1:]:
        if script == word:
            break
        if script.endswith(f"/{word}"):
            return script.removesuffix(f"/{word}") or "/"
    return FIRST_FOLDER


def module_name_of(file: str, module: ModuleType | None = None) -> str:
    """Return the name under which a file can be imported: its stem, if that means this file and no other module.

    Parameters
    ----------
    file : str
        Absolute path.
    module : module, optional
        The module of this file that exists already.
    """
    name, suffix = Path(file).stem, Path(file).suffix
    if suffix != ".py" or not name.isidentifier() or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        return MP_MAIN
    known = sys.modules.get(name)
    if name == "__main__" or (known is not None and known is not module and not _is_file_of(known, file)):
        return MP_MAIN
    if known is None:
        invalidate_caches()  # the file may be new
        try:
            found = find_spec(name)
        except (ImportError, ValueError):
            found = None
        if found is None or not _is_same_file(found.origin, file):
            return MP_MAIN
    return name


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _is_file_of(module: ModuleType, file: str) -> bool:
    return _is_same_file(getattr(module, "__file__", None), file)


def _is_same_file(path: str | None, file: str) -> bool:
    try:
        return path is not None and Path(path).samefile(file)
    except OSError:
        return False


def import_context(study: StudySource | None, argv: list[str]) -> ImportContext:
    """Return the import context of this process.

    Parameters
    ----------
    study : StudySource or None
        The study, if it is a file.
    argv : list of str
        `sys.argv` of the study.
    """
    path = list(dict.fromkeys(_absolute(entry) for entry in sys.path if isinstance(entry, str)))
    installed = [entry for entry in path if is_installed(entry)]
    cwd = _absolute("")
    name, file, start = study or ("", "", cwd)
    return ImportContext(path, installed, cwd, start, argv, name, file, list(sys.warnoptions))


# --- the modules --------------------------------------------------------------------------------


def keep_modules(study: StudySource | None) -> KeptCode:
    """Return the text of the user's modules that this process has imported, and of the study.

    Modules of the standard library and of installed packages are not kept, nor are compiled ones.
    """
    kept = KeptCode({}, {})
    for name, module in sorted(sys.modules.copy().items()):
        # A lazy module would be loaded by its own attribute access.
        attributes = object.__getattribute__(module, "__dict__") if isinstance(module, ModuleType) else {}
        spec = attributes.get("__spec__")
        if spec is not None and spec.name == name and name.partition(".")[0] not in _NOT_THE_USERS:
            _keep(kept, name, spec)
    if study is not None:
        origin = study.file
        kept.modules[study.name] = KeptModule(origin, None, decode_source(Path(origin).read_bytes()))
    return kept


def _keep(kept: KeptCode, name: str, spec: Any) -> None:
    locations = spec.submodule_search_locations
    locations = None if locations is None else [_absolute(folder) for folder in locations]
    if spec.origin is None or not spec.has_location:
        if locations and not all(map(is_installed, locations)):
            kept.modules[name] = KeptModule(None, locations, None)
        return
    origin = _absolute(spec.origin)
    if is_installed(origin) or origin.endswith(tuple(EXTENSION_SUFFIXES)):
        return
    text = _text_of(name, spec.loader, origin)
    if text is None:
        kept.without_text[name] = origin
    else:
        kept.modules[name] = KeptModule(origin, locations, text)


def _text_of(name: str, loader: Any, origin: str) -> str | None:
    """Return the text of a module; None if there is none, as of a module that exists only as bytecode."""
    get_source = getattr(loader, "get_source", None)
    try:
        text: str | None = None if get_source is None else get_source(name)
        if text is None and origin.endswith(".py"):
            text = decode_source(Path(origin).read_bytes())
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        return None
    return text


def changed_modules(kept: dict[str, KeptModule]) -> list[str]:
    """Return the paths of the modules whose files have another text now; a file that was removed has not changed."""
    changed = []
    for module in kept.values():
        if module.origin is None:
            continue
        try:
            text = decode_source(Path(module.origin).read_bytes())
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue  # in an archive, or removed
        if text != module.text:
            changed.append(module.origin)
    return changed
