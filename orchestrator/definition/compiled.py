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


def compiled(text: str, origin: str) -> bytes:
    """Compile the text of a module, and return its code with what it belongs to; nothing if it can't be compiled.

    Parameters
    ----------
    text, origin : str
        Text and path of the module.
    """
    with suppress(SyntaxError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the study was loaded
        code = marshal.dumps(compile(text, origin, "exec", dont_inherit=True))
        return f"{_key(text, origin)}{sha256_of(code)}".encode() + code
    return b""


def read_compiled(content: bytes, text: str, origin: str) -> CodeType | None:
    """Return the code; None if it is damaged, or belongs to another text, path or Python."""
    digests, code = content[: 2 * DIGITS], content[2 * DIGITS :]
    if digests != f"{_key(text, origin)}{sha256_of(code)}".encode():
        return None
    loaded = marshal.loads(code)
    return loaded if isinstance(loaded, CodeType) else None


def _key(text: str, origin: str) -> str:
    return sha256_of(json.dumps([MAGIC_NUMBER.hex(), sys.flags.optimize, origin, text]).encode())
