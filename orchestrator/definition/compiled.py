"""Keep the compiled code of a study with its text.

Python keeps no bytecode of a script, so each task would compile it.
"""

from __future__ import annotations

import json
import marshal
import sys
import warnings
from contextlib import suppress
from importlib.util import MAGIC_NUMBER
from types import CodeType

from orchestrator.sha256 import sha256_of

__all__ = ["compiled", "read_compiled"]

DIGITS = 64
"""Length of a digest."""

WITHOUT_REFERENCES = 2
"""Version of the format in which the same code always has the same bytes."""


def compiled(text: str, origin: str) -> bytes:
    """Compile the text of a module, and return its code with what it belongs to; nothing if it can't be kept.

    The same text gives the same bytes, because they are part of what identifies a bundle. So nothing is returned for
    code with a constant set: the order of its elements differs between two processes.

    Parameters
    ----------
    text, origin : str
        Text and path of the module.
    """
    with suppress(SyntaxError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the study was loaded
        code = compile(text, origin, "exec", dont_inherit=True)
        if not _has_set(code):
            return _key(text, origin).encode() + marshal.dumps(code, WITHOUT_REFERENCES)
    return b""


def read_compiled(content: bytes, text: str, origin: str) -> CodeType | None:
    """Return the code; None if it belongs to another text, path or Python. The caller has checked its digest."""
    if content[:DIGITS] != _key(text, origin).encode():
        return None
    code = marshal.loads(content[DIGITS:])
    return code if isinstance(code, CodeType) else None


def _has_set(constant: object) -> bool:
    if isinstance(constant, CodeType):
        return any(_has_set(inner) for inner in constant.co_consts)
    return isinstance(constant, frozenset) or (isinstance(constant, tuple) and any(map(_has_set, constant)))


def _key(text: str, origin: str) -> str:
    return sha256_of(json.dumps([MAGIC_NUMBER.hex(), sys.flags.optimize, origin, text]).encode())
