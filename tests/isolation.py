"""Undo what loading a study changes in a process, so that many commands can run in the process of the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.definition import bundle

ROOT = str(Path(__file__).resolve().parents[1])


@contextmanager
def as_in_a_process_of_its_own() -> Iterator[None]:
    main, known = sys.modules["__main__"], set(sys.modules)
    path, finders, arguments = list(sys.path), list(sys.meta_path), list(sys.argv)
    bundle._prepared = bundle._main = None
    try:
        yield
    finally:
        sys.path[:], sys.meta_path[:], sys.argv[:] = path, finders, arguments
        sys.modules["__main__"] = main
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None)
            if name == "__mp_main__" or (file is not None and not file.startswith((ROOT, sys.base_prefix))):
                del sys.modules[name]
        bundle._prepared = bundle._main = None
