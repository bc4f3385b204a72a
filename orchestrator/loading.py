"""Load modules without a search for garbage among them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["loading"]


@contextmanager
def loading() -> Iterator[None]:
    """Keep what has been made by the end of the block out of all searches for garbage.

    What a module makes lives as long as the process. To search it, the more often the more there is, and once more
    when the process ends, takes a sixth of a short process's time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
