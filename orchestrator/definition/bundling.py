"""Create a run's bundle: one pickle per step, and a copy of the study's modules.

Each step has its own pickle, so that a task does not import the libraries of other steps. Functions and classes of the
study file are pickled by value; those of modules in its folder by reference, and imported from the copy. A queued run
therefore uses the code that it was submitted with.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar

from orchestrator.atomic import new_folder, write_synced
from orchestrator.definition.bundle import PYTHON
from orchestrator.definition.pipeline import step_name
from orchestrator.errors import DefinitionError

__all__ = ["PreparedBundle", "prepare_bundle", "source_digest"]

MAX_FILES = 2000
MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle in memory.

    Attributes
    ----------
    pickles : dict of str to bytes
        The pickle of each step, by its path in the plan.
    missing : dict of str to str
        Steps that can't be pickled, with the reason. They can run only in the process that defines them.
    sources : dict of str to bytes
        The Python files in the study's folder, by their path relative to it.
    source_digest : str
        SHA-256 of the study and of the modules in its folder that its text mentions.
    """

    pickles: dict[str, bytes]
    missing: dict[str, str]
    sources: dict[str, bytes] = field(default_factory=dict)
    source_digest: str = ""

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
        files |= {f"sources/{path}": content for path, content in self.sources.items()}
        index = {
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
            "missing": self.missing,
            "python": PYTHON,
        }
        text = json.dumps(index, indent=1, sort_keys=True).encode()
        digest = hashlib.sha256(text).hexdigest()
        if (folder / digest).is_dir():
            return digest
        with new_folder(folder / digest) as inside:
            for name, content in {**files, "bundle.json": text}.items():
                (inside / name).parent.mkdir(parents=True, exist_ok=True)
                write_synced(inside / name, content, mode=0o600)
        return digest


def prepare_bundle(by_path: Mapping[str, Any], study: Path | None, *, needs_pickles: bool = False) -> PreparedBundle:
    """Pickle every step, and read the study's modules.

    Parameters
    ----------
    by_path : mapping of str to Step or callable
        Steps, and `until` functions of loops, by their path in the plan.
    study : Path or None
        The study file; None if there is none, as in a notebook.
    needs_pickles : bool, default False
        Whether all steps run in other processes, so that all need a pickle. By default only parallel steps do.

    Returns
    -------
    PreparedBundle
        The bundle.

    Raises
    ------
    DefinitionError
        If a step that runs in other processes can't be pickled. The message names the attribute.
    """
    pickles: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for path, item in by_path.items():
        block, kwargs = (item.block, dict(item.kwargs)) if hasattr(item, "block") else (item, {})
        try:
            pickles[path] = _dumps((block, kwargs))
        except Exception as error:
            reason = f"{_unpicklable_part(block, kwargs)} ({type(error).__name__}: {error})"
            if needs_pickles or getattr(item, "parallel", False):
                name = step_name(item) if hasattr(item, "block") else path
                raise DefinitionError(
                    f"Step {name!r} runs in other processes, but it can't be pickled: {reason}.",
                    "Create that object inside the function that uses it, or remove it in __getstate__.",
                ) from error
            missing[path] = f"it can't be pickled: {reason}"
    sources = {} if study is None else _sources(study.parent)
    digest = source_digest(study) if study is not None else _digest(pickles)
    return PreparedBundle(pickles, missing, sources, digest)


def source_digest(study: Path) -> str:
    """Return the SHA-256 of a study file and of the modules in its folder that its text mentions."""
    content = {name: text for name, text in _sources(study.parent).items() if _is_mentioned(name, study)}
    return _digest({**content, study.name: study.read_bytes()})


def _is_mentioned(name: str, study: Path) -> bool:
    """Whether the study's text contains the name of a module or package in its folder, so that it may import it."""
    module = name.removesuffix(".py").split("/")[0]
    return module in study.read_text(errors="replace")


def _sources(folder: Path) -> dict[str, bytes]:
    """Return the content of the Python files in a study's folder, and of its packages, by relative path."""
    files = list(folder.glob("*.py"))
    for package in sorted(folder.glob("*/__init__.py")):
        files += [file for file in package.parent.rglob("*.py") if "__pycache__" not in file.parts]
    real = sorted(file for file in files if file.is_file() and os.access(file, os.R_OK))
    small = [file for file in real[:MAX_FILES] if file.stat().st_size <= MAX_FILE_BYTES]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in small}


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _dumps(value: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Pickle code with its file name, which tracebacks need and cloudpickle 3.1.3 omits."""

        dispatch_table: ClassVar[Any] = ChainMap({CodeType: _reduced_code}, cloudpickle.Pickler.dispatch_table)

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def _reduced_code(code: CodeType) -> tuple[Any, ...]:
    import cloudpickle

    function, arguments, *rest = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return (function, tuple(code.co_filename if value == "<dynamic-code>" else value for value in arguments), *rest)


def _unpicklable_part(block: Any, kwargs: Mapping[str, Any]) -> str:
    """Return the name and type of the innermost attribute that can't be pickled."""
    for name, value in [("block", block), *((f"kwargs[{key!r}]", value) for key, value in kwargs.items())]:
        found = _search_unpicklable(name, value, set())
        if found is not None:
            return found
    return "block"


def _search_unpicklable(name: str, value: Any, seen: set[int]) -> str | None:
    try:
        _dumps(value)
    except Exception:
        seen.add(id(value))
    else:
        return None
    for inner_name, inner in _parts(name, value):
        if id(inner) not in seen:
            found = _search_unpicklable(inner_name, inner, seen)
            if found is not None:
                return found
    return f"{name} is a {type(value).__name__}"


def _parts(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{name}[{key!r}]", inner) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{name}[{index}]", inner) for index, inner in enumerate(value)]
    inside = [(f"{name}.{key}", inner) for key, inner in _attributes(value).items()]
    code, cells = getattr(value, "__code__", None), getattr(value, "__closure__", None)
    if code is not None:
        inside += [(f"{name}: {key}", c.cell_contents) for key, c in zip(code.co_freevars, cells or (), strict=True)]
        module = getattr(value, "__globals__", {})
        inside += [(f"{name}: {key}", module[key]) for key in code.co_names if key in module]
    return inside


def _attributes(value: Any) -> dict[str, Any]:
    slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
    names = [name for slot in slots for name in ([slot] if isinstance(slot, str) else slot)]
    return {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in names if hasattr(value, name)}}
