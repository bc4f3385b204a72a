"""Act when a module of the standard library is imported that a short process may never need."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["after_import", "not_after_import"]

Act = Callable[[], object]


def after_import(name: str, act: Act) -> None:
    """Act when a module has been imported, before the code that imports it continues; at once if it is already."""
    if name in sys.modules:
        act()
        return
    _acts.setdefault(name, []).append(act)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def not_after_import(name: str, act: Act) -> None:
    """Withdraw an `after_import` that has not acted yet."""
    with suppress(KeyError, ValueError):
        _acts[name].remove(act)


class _Finder:
    """A finder that leaves the finding to the others, but has the loader act at its end."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _acts.get(fullname):
            return None
        # Old finders have none; Python leaves them out, too.
        others = [finder.find_spec for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (find(fullname, path, target) for find in others)), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_act(module: ModuleType) -> None:
                load(module)
                for act in _acts.pop(fullname, ()):
                    act()

            spec.loader.exec_module = load_and_act  # type: ignore[method-assign]
        return spec


_acts: dict[str, list[Act]] = {}
_finder = _Finder()
