"""Bundle the code that a run keeps: one pickle per step, beside a copy of the study's local sources.

A task must not import the other steps' libraries, so each step has its own pickle. What lives in the study file itself
is pickled by value; modules beside it are imported by reference, from the copy. So a queued run keeps the code that it
was submitted with.
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

MOST_FILES = 2000
MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle in memory.

    Attributes
    ----------
    pickles : dict of str to bytes
        By the step's path in the plan.
    missing : dict of str to str
        Why a step has no pickle: it can run in the process that defines it, and nowhere else.
    sources : dict of str to bytes
        By path relative to the study's folder.
    source_digest : str
        SHA-256 over the study and the modules beside it that it has imported.
    """

    pickles: dict[str, bytes]
    missing: dict[str, str]
    sources: dict[str, bytes] = field(default_factory=dict)
    source_digest: str = ""

    def write(self, folder: Path) -> str:
        """Write the bundle, whole or not at all; one that is there already stays.

        Returns
        -------
        str
            Its digest: the name of its folder.
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
    """Pickle every step.

    Parameters
    ----------
    by_path : mapping
        Steps, and loops' questions, by path.
    study : Path or None
        The file that defines them; None where there is none, as in a notebook.
    needs_pickles : bool, default False
        Whether every step runs in another process, not only the parallel ones.

    Raises
    ------
    DefinitionError
        If a step that runs in other processes can't be pickled; it names the attribute.
    """
    pickles: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for path, item in by_path.items():
        block, kwargs = (item.block, dict(item.kwargs)) if hasattr(item, "block") else (item, {})
        try:
            pickles[path] = _dumps((block, kwargs))
        except Exception as error:
            reason = f"{_culprit(block, kwargs)} ({type(error).__name__}: {error})"
            if needs_pickles or getattr(item, "parallel", False):
                name = step_name(item) if hasattr(item, "block") else path
                raise DefinitionError(
                    f"Step {name!r} runs in other processes, but it can't be pickled: {reason}.",
                    "Make it where it is used, inside the function, or leave it out in __getstate__.",
                ) from error
            missing[path] = f"it can't be pickled: {reason}"
    sources = {} if study is None else _sources(study.parent)
    digest = source_digest(study) if study is not None else _digest(pickles)
    return PreparedBundle(pickles, missing, sources, digest)


def source_digest(study: Path) -> str:
    """Digest a study file and the modules beside it."""
    content = {name: text for name, text in _sources(study.parent).items() if _belongs(name, study)}
    return _digest({**content, study.name: study.read_bytes()})


def _belongs(name: str, study: Path) -> bool:
    """Tell whether a file beside the study is one that the study's text may import."""
    module = name.removesuffix(".py").split("/")[0]
    return module in study.read_text(errors="replace")


def _sources(folder: Path) -> dict[str, bytes]:
    """Read the Python files beside a study, and the packages there."""
    files = list(folder.glob("*.py"))
    for package in sorted(folder.glob("*/__init__.py")):
        files += [file for file in package.parent.rglob("*.py") if "__pycache__" not in file.parts]
    real = sorted(file for file in files if file.is_file() and os.access(file, os.R_OK))
    small = [file for file in real[:MOST_FILES] if file.stat().st_size <= MOST_BYTES]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in small}


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _dumps(value: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Keeps the name of the file that code is from, which cloudpickle 3.1.3 drops: a traceback needs it."""

        dispatch_table: ClassVar[Any] = ChainMap({CodeType: _reduced_code}, cloudpickle.Pickler.dispatch_table)

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def _reduced_code(code: CodeType) -> tuple[Any, ...]:
    import cloudpickle

    function, arguments, *rest = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return (function, tuple(code.co_filename if value == "<dynamic-code>" else value for value in arguments), *rest)


def _culprit(block: Any, kwargs: Mapping[str, Any]) -> str:
    """Name the attribute that can't be pickled, as deep as it can be named."""
    for name, value in [("block", block), *((f"kwargs[{key!r}]", value) for key, value in kwargs.items())]:
        found = _search(name, value, set())
        if found is not None:
            return found
    return "block"


def _search(name: str, value: Any, seen: set[int]) -> str | None:
    try:
        _dumps(value)
    except Exception:
        seen.add(id(value))
    else:
        return None
    for inner_name, inner in _inside(name, value):
        if id(inner) not in seen:
            found = _search(inner_name, inner, seen)
            if found is not None:
                return found
    return f"{name} is a {type(value).__name__}"


def _inside(name: str, value: Any) -> list[tuple[str, Any]]:
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
