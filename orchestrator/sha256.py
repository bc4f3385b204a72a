"""SHA-256 without OpenSSL, which `hashlib` loads: that takes longer than to check the small files of a task.

Python's `random` imports its hash function in the same way. For large contents `hashlib` is faster, and is used.
"""

from __future__ import annotations

from typing import BinaryIO

try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found]  # since Python 3.12
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found]
    except ImportError:  # a Python that was built without its own hash functions
        from hashlib import sha256 as _sha256

__all__ = ["sha256_of", "sha256_of_file"]


LARGE = 500_000
"""Bytes from which the import of OpenSSL takes less time than it saves."""


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of a content, as 64 hexadecimal digits."""
    if len(content) < LARGE:
        return str(_sha256(content).hexdigest())
    from hashlib import sha256

    return sha256(content).hexdigest()


def sha256_of_file(file: BinaryIO) -> str:
    """Return the SHA-256 of what follows in a file, of which a part is in memory at a time."""
    begin = file.read(LARGE)
    if len(begin) < LARGE:
        return sha256_of(begin)
    from hashlib import sha256

    digest = sha256(begin)
    while part := file.read(LARGE):
        digest.update(part)
    return digest.hexdigest()
