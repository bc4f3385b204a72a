"""Which versions of which libraries a study imports, for the record of where a run comes from."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata

from orchestrator.definition.finder import KeptModule

__all__ = ["library_versions"]


def library_versions(modules: Mapping[str, KeptModule]) -> dict[str, str]:
    """Return the versions of the installed libraries that modules import, by name, also inside functions.

    A library whose version is not known is left out.
    """
    own = {name.partition(".")[0] for name in modules}
    names = {name for module in modules.values() for name in _imported(module.text or "")}
    found = {name: _version(name) for name in sorted(names - own - sys.stdlib_module_names - {"orchestrator"})}
    return {name: version for name, version in found.items() if version}


@lru_cache(maxsize=4096)  # one process may start many runs: it parses each module once
def _imported(text: str) -> frozenset[str]:
    try:
        nodes: Iterable[ast.AST] = ast.walk(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):  # the cells of a notebook
        return frozenset()
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return frozenset(names)


def _version(name: str) -> str | None:
    # Not `getattr`: a library may compute it with a warning.
    version = vars(sys.modules[name]).get("__version__") if name in sys.modules else None
    if isinstance(version, str):
        return version
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None
