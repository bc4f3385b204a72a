"""Work on many small objects without garbage collection, which would look at all of them again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["many_objects"]


@contextmanager
def many_objects() -> Iterator[None]:
    """Collect no garbage in the block. It must not call the user's code."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
