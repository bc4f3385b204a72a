"""The functions that a table's files name, as the text of a pickle, like f3dasm's.

A table is data: another user may have written it. So a pickle in its files may only name things, not call them, and
what it names must not come from Python's own library, where functions such as `os.system` run commands. Nor may it be
reached by way of a package that has imported it, as by `pandas.io.common` and `os.system`.
"""

from __future__ import annotations

import _pickle as pickle  # the module `pickle` has slow classes, too
import io
import os
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from orchestrator.errors import NotAllowed
from orchestrator.loading import main_name

__all__ = ["ALLOW", "allows_everything", "decode_function", "encode_function"]

ALLOW = "ORCHESTRATOR_TRUST_TABLES"
"""Environment variable: with the value 1, a process loads whatever the files of a table name."""

_READERS = frozenset({("json", "load"), ("pathlib", "Path.read_bytes"), ("pathlib", "Path.read_text")})
"""Functions of Python's own library that a table may name."""

_CALLS = frozenset(
    {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
)
"""Instructions of a pickle that call something."""


def encode_function(function: Any, *, null: bool = False) -> str | None:
    """Encode a function, or its keyword arguments, as text for JSON, like f3dasm.

    Parameters
    ----------
    function : Any
        The object to pickle. Text is returned unchanged, because it is encoded already.
    null : bool, default False
        Whether None is pickled, too: f3dasm unpickles the function of a reference without a check.

    Returns
    -------
    str or None
        The pickle as hexadecimal digits.
    """
    if isinstance(function, str) or (function is None and not null):
        return function
    return (_named(function) or pickle.dumps(function)).hex()


def _named(function: Any) -> bytes | None:
    """Pickle a function of `__main__` by the name under which other processes can import it; None for others."""
    if main_name() is None or not isinstance(function, FunctionType) or function.__module__ != "__main__":
        return None
    name = function.__qualname__
    if vars(sys.modules["__main__"]).get(name) is not function:
        return None
    return f"c{main_name()}\n{name}\n.".encode()


def decode_function(encoded: Any) -> Any:
    """Return the object that `encode_function` encoded. A value that is not text is returned unchanged.

    Raises
    ------
    NotAllowed
        If the text is not a pickle, calls a function, or names a function that a table may not name.
    """
    if not isinstance(encoded, str):
        return encoded
    import pickletools  # not needed in most tasks

    try:
        content = bytes.fromhex(encoded)
        calls = any(instruction.name in _CALLS for instruction, _, _ in pickletools.genops(content))
    except Exception as error:
        raise NotAllowed(f"a function in the table's files can't be read: {error}", _HINT) from error
    if allows_everything():
        return pickle.loads(content)
    if calls:
        raise NotAllowed("the table's files contain a pickle that would run code when it is loaded.", _HINT)
    return _Names(io.BytesIO(content)).load()


def allows_everything() -> bool:
    """Whether the user has allowed this process to load whatever a table names."""
    return os.environ.get(ALLOW) == "1"


class _Names(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a table names, unless it is part of Python's own library."""
        # Python 3.13 writes where pathlib's classes are defined there.
        module = "pathlib" if module == "pathlib._local" else module
        if module == "f3dasm._src._io":
            from orchestrator.data.references import OF_F3DASM

            if name in OF_F3DASM:
                return OF_F3DASM[name]
        if (module, name) in _READERS:
            return super().find_class(module, name)
        if not _is_of_library(module):
            found = super().find_class(module, name)
            if not any(map(_comes_from_library, _on_the_way(module, name))):
                return found
        raise NotAllowed(f"the table's files name {module}.{name} to load an object.", _HINT)


def _on_the_way(module: str, name: str) -> Iterator[Any]:
    """Yield what each part of a name with dots names."""
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
        yield found


def _comes_from_library(found: Any) -> bool:
    return isinstance(found, ModuleType) or _is_of_library(getattr(found, "__module__", None))


def _is_of_library(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in sys.stdlib_module_names


_HINT = (
    "Use a function of your own module, or of a package, as load_function.\n"
    f"If you trust who wrote the table, allow it for one command: {ALLOW}=1 COMMAND"
)
