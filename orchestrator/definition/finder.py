"""Import modules with the text that they had at submission, and with everything else from their real place.

A kept module has the `__file__`, `__path__`, spec and loader of its real place, so files beside it, compiled parts and
resources are found. Only its text, and so its code, is the kept one. If its place is gone, the text is enough.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, cast

from orchestrator.loading import EndOfLoading, loading

__all__ = ["KeptFinder", "KeptModule", "MetaPath"]


class KeptModule(NamedTuple):
    """A module as it was at submission. All values are JSON.

    Attributes
    ----------
    origin : str or None
        Path of its file; None for a namespace package, which has none.
    locations : list of str or None
        Folders of the modules in it; None if it is not a package.
    text : str or None
        Its text; None for a namespace package.
    """

    origin: str | None
    locations: list[str] | None
    text: str | None

    def moved(self, here: Callable[[str], str]) -> "KeptModule":
        """Return the module after the workspace was moved; `here` turns a path of then into one of now."""
        origin = None if self.origin is None else here(self.origin)
        locations = None if self.locations is None else [here(folder) for folder in self.locations]
        return self._replace(origin=origin, locations=locations)


class MetaPath(list[Any]):
    """A `sys.meta_path` that begins with the `KeptFinder`, also after an import hook was put before it.

    `KeptFinder` asks the other finders, and gives the text to the loader of the hook.
    """

    def __iter__(self) -> Iterator[Any]:
        """Return the finders in the order in which they are asked."""
        return iter(sorted(super().__iter__(), key=lambda finder: not isinstance(finder, KeptFinder)))


class KeptFinder:
    """The first finder on `sys.meta_path`.

    Parameters
    ----------
    modules : mapping of str to KeptModule
        The kept modules, by name.
    study : str, default ""
        The name of the study. Python reads and writes no bytecode of a script, so none is used for it.
    code : code object, optional
        The compiled text of the study.
    """

    def __init__(self, modules: Mapping[str, KeptModule], study: str = "", code: CodeType | None = None) -> None:
        self.modules = modules
        self.study = study
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a kept module; None for other modules, which Python's own finders find."""
        kept = self.modules.get(fullname)
        if kept is None:
            return None
        real = self._real_spec(fullname, path, target)
        if kept.origin is None or kept.text is None:
            return real or _namespace(fullname, kept)
        if real is not None and _is_same(real.origin, kept.origin) and real.loader is not None:
            with suppress(TypeError, AttributeError):
                # The loader of an import hook may change the code.
                code = self._code if fullname == self.study and type(real.loader) is SourceFileLoader else None
                real.loader = _with_text(real.loader, kept, code, may_have_bytecode=fullname != self.study)
                return real
        loader = _with_text(SourceFileLoader(fullname, kept.origin), kept)
        return spec_from_file_location(fullname, kept.origin, loader=loader, submodule_search_locations=kept.locations)

    def _real_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is not self and find_spec is not None:
                spec: ModuleSpec | None = find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


def _is_same(origin: str | None, kept: str) -> bool:
    return origin is not None and str(Path(origin).absolute()) == kept


def _namespace(fullname: str, kept: KeptModule) -> ModuleSpec:
    spec = ModuleSpec(fullname, None, is_package=True)
    spec.submodule_search_locations = kept.locations
    return spec


def _with_text(real: Any, kept: KeptModule, code: CodeType | None = None, *, may_have_bytecode: bool = False) -> Any:
    """Return a copy of a loader that takes the text of the module from `kept`."""
    kind: Any = _with_kept_text(type(real))
    loader = kind.__new__(kind)
    loader.__dict__.update(real.__dict__, kept=kept, code=code, may_have_bytecode=may_have_bytecode)
    return loader


def _with_kept_text(kind: Any) -> Any:
    return type(f"Kept{kind.__name__}", (_KeptText, kind), {})


class _KeptText:
    """The part of a loader that differs from that of the real place."""

    kept: KeptModule
    code: CodeType | None
    may_have_bytecode: bool

    def get_source(self, fullname: str) -> str | None:
        return self.kept.text

    def get_code(self, fullname: str) -> CodeType:
        if self.code is not None:
            return self.code
        real: Any = super()
        if self.may_have_bytecode and _has_text(real, fullname, self.kept.text):
            return cast("CodeType", real.get_code(fullname))
        # The loader of an import hook may change the code.
        to_code: Any = getattr(self, "source_to_code", _compile)
        return cast("CodeType", to_code(self.kept.text, self.kept.origin))

    def exec_module(self, module: ModuleType) -> None:
        self._show_in_tracebacks()
        with loading(again=True), suppress(EndOfLoading):
            super().exec_module(module)  # type: ignore[misc]

    def _show_in_tracebacks(self) -> None:
        """Let tracebacks show this text, although the file may have been edited."""
        text, origin = self.kept.text or "", self.kept.origin or ""
        linecache.cache[origin] = (len(text), None, [f"{line}\n" for line in text.split("\n")], origin)


def _has_text(loader: Any, fullname: str, text: str | None) -> bool:
    """Whether the real place has this text now. Then there may be bytecode of it, which saves time in each worker."""
    try:
        return bool(loader.get_source(fullname) == text)
    except (AttributeError, ImportError, OSError, SyntaxError):
        return False


def _compile(text: str, origin: str) -> CodeType:
    return compile(text, origin, "exec", dont_inherit=True)
