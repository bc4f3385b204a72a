"""Load a study, and find its pipeline and its cluster."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.definition.bundle import is_ours
from orchestrator.definition.f3dasm_blocks import our_settings
from orchestrator.definition.import_context import MP_MAIN, free_mp_main
from orchestrator.definition.modules import StudySource, module_name_of
from orchestrator.definition.pipeline import PipelineDefinition, our_pipeline
from orchestrator.definition.resources import SlurmCluster
from orchestrator.errors import OrchestratorError, StudyError
from orchestrator.hidden_modules import hidden_module
from orchestrator.loading import EndOfLoading, current_folder, loading

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Study", "cluster_of", "load_study"]


@dataclass(frozen=True)
class Study:
    """A loaded study.

    Attributes
    ----------
    pipeline : PipelineDefinition
        The pipeline.
    path : Path
        Absolute path of the file.
    start : str
        The working folder when the import of the study began.
    module : str
        Name under which it is imported.
    attr : str or None
        Name of the pipeline in the file; None if the study runs a pipeline without a name.
    clusters : mapping of str to SlurmCluster
        The clusters in the file, by name.
    """

    pipeline: PipelineDefinition
    path: Path
    start: str
    module: str
    attr: str | None
    clusters: Mapping[str, SlurmCluster] = field(default_factory=dict)

    @property
    def source(self) -> StudySource:
        """Where the study is."""
        return StudySource(self.module, str(self.path), self.start)

    @property
    def argv(self) -> list[str]:
        """`sys.argv` while the study is loaded: as of a script that is started without arguments."""
        return [str(self.path)]


def load_study(source: str) -> Study:
    """Import a study, but not what is under `if __name__ == "__main__":`. A call of `Pipeline.run` ends the import.

    Parameters
    ----------
    source : str
        `path.py`, or `path.py:attr` if the file defines several pipelines; or the name of a module, `package.study` or
        `package.study:attr`. Without `attr`, the pipeline named `pipeline` is used, else the only one, else the one
        that the study runs.

    Returns
    -------
    Study
        The study's pipeline and clusters.

    Raises
    ------
    StudyError
        If the file does not exist, its import fails, or it does not define the pipeline.
    """
    file, _, attr = source.partition(":") if not Path(source).is_file() else (source, "", "")
    start = current_folder()
    path, spec = _find(file)
    module, run = _import(path, spec)
    found = {name: our_pipeline(value) for name, value in vars(module).items()}
    pipelines = {name: value for name, value in found.items() if isinstance(value, PipelineDefinition)}
    if attr and attr not in pipelines and hasattr(module, attr):
        raise StudyError(
            f"{attr} in {path.name} is a {type(getattr(module, attr)).__name__}, not a Pipeline.",
            f"Use one of its pipelines: {', '.join(pipelines) or 'it defines none'}",
        )
    settings = {name: our_settings(SlurmCluster, value) for name, value in vars(module).items()}
    clusters = {name: value for name, value in settings.items() if isinstance(value, SlurmCluster)}
    name = attr or ("pipeline" if "pipeline" in pipelines or len(pipelines) != 1 else next(iter(pipelines)))
    if name not in pipelines:
        if run is not None and not attr:
            return Study(
                run, path, start, spec.name, next((n for n, p in pipelines.items() if p is run), None), clusters
            )
        known = ", ".join(pipelines) or "none"
        if not pipelines and _has_guard(path):
            raise StudyError(
                f'{path.name} defines no pipeline outside of its `if __name__ == "__main__":`, which is not run here.',
                "Define pipeline = Pipeline(...) above that line; only its run() belongs below it.",
            )
        raise StudyError(
            f"{path.name} defines no pipeline named {name!r}; its pipelines: {known}.",
            f"Define pipeline = Pipeline(...) in it, or name one: {path.name}:NAME",
        )
    return Study(pipelines[name], path, start, spec.name, name, clusters)


def _has_guard(path: Path) -> bool:
    """Whether a file has an `if __name__ == "__main__":`."""
    text = path.read_bytes()
    return re.search(rb"""^if\s+\(?__name__\s*==\s*["']__main__["']""", text, re.MULTILINE) is not None


def cluster_of(study: Study, file: str | None) -> SlurmCluster:
    """Return the cluster that a study is submitted to.

    Parameters
    ----------
    study : Study
        The study.
    file : str or None
        A YAML file. None: the cluster named `cluster` in the study, else the only one there.

    Returns
    -------
    SlurmCluster
        The cluster.

    Raises
    ------
    StudyError
        If the study defines no cluster, or several and none is named `cluster`.
    DefinitionError
        If the file can't be read.
    """
    if file is not None:
        return SlurmCluster.from_yaml(file)
    found = study.clusters
    name = "cluster" if "cluster" in found or len(found) != 1 else next(iter(found))
    if name not in found:
        known = ", ".join(found) or "none"
        raise StudyError(
            f"{study.path.name} defines no SlurmCluster named 'cluster'; its clusters: {known}.",
            "Define cluster = SlurmCluster(partition=..., account=...) in it, or use --cluster FILE.yaml",
        )
    return found[name]


# --- import -------------------------------------------------------------------------------------


def _find(source: str) -> tuple[Path, ModuleSpec]:
    """Return the file of a study and its spec, and put the folder that it is imported from on `sys.path`."""
    path = Path(os.path.normpath(Path(source).absolute()))
    if path.is_file():
        return path, _spec_of_file(path)
    if path.is_dir():
        raise StudyError(f"{source} is a folder.", "Give the path of a Python file in it that defines a Pipeline.")
    words = source.split(".")
    if not source.endswith(".py") and all(word.isidentifier() for word in words):
        _put_first(str(Path.cwd()))
        spec = _spec_in_package(source, Path(source), Path.cwd()) if find_spec(words[0]) is not None else None
        if spec is not None and spec.origin is not None and spec.has_location:
            return Path(spec.origin), spec
    raise StudyError(
        f"There is no study {source}.",
        "Give the path of a Python file that defines a Pipeline, or the name of a module.",
    )


def _spec_of_file(path: Path) -> ModuleSpec:
    """Return the spec of a file: in a package, of that module of the package; else as of a script."""
    root, words = path.parent, [path.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        root, words = root.parent, [root.name, *words]
    if len(words) > 1 and path.suffix == ".py" and path.stem.isidentifier():
        # A module of a package may also be written as a script, which imports the modules in its folder.
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        _put_first(str(root))
        spec = _spec_in_package(".".join(words), path, root)
        if spec is not None and spec.origin is not None and Path(spec.origin).samefile(path):
            return spec
    _put_first(str(path.resolve().parent))
    free_mp_main()
    name = module_name_of(str(path))
    spec = spec_from_file_location(name, path, loader=_ScriptLoader(name, str(path)) if path.suffix == ".py" else None)
    if spec is None:
        raise StudyError(f"{path} is not a Python file.", "Give the path of a Python file that defines a Pipeline.")
    return spec


class _ScriptLoader(SourceFileLoader):
    """Loads a script without bytecode, as Python does: that of a file that was edited within a second may be old."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError(f"bytecode of {path} is not used")


def _spec_in_package(name: str, path: Path, root: Path) -> ModuleSpec | None:
    """Import the package of a module, and return the module's spec."""
    try:
        with _reported(path, root, name), loading(again=False):
            return find_spec(name)
    except EndOfLoading:
        raise StudyError(
            f"{name} can't be imported: its package runs a pipeline when it is imported.",
            'Put that call under: if __name__ == "__main__":',
        ) from None
    except ModuleNotFoundError:
        return None


def _put_first(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _import(path: Path, spec: ModuleSpec) -> tuple[ModuleType, PipelineDefinition | None]:
    """Import a study; return it, and the pipeline that it runs while it is loaded."""
    run: PipelineDefinition | None = None
    if "." in spec.name and spec.name in sys.modules:
        return sys.modules[spec.name], None  # its package has imported it
    module = module_from_spec(spec)
    assert spec.loader is not None
    before, sys.modules[spec.name] = sys.modules.get(spec.name), module
    argv, sys.argv = sys.argv, [str(path)]
    try:
        with _reported(path, path.parent, spec.name), loading(again=False):
            spec.loader.exec_module(module)
    except EndOfLoading as end:
        run = end.pipeline
    except BaseException:
        del sys.modules[spec.name]
        if before is not None:
            sys.modules[spec.name] = before
        raise
    finally:
        sys.argv = argv
    parent, _, child = spec.name.rpartition(".")
    if parent:
        setattr(import_module(parent), child, module)
    if spec.name == MP_MAIN:
        module.__spec__ = None  # as of a script: a child process of multiprocessing then runs the file
    if is_ours(sys.modules["__main__"]):
        sys.modules["__main__"] = sys.modules[MP_MAIN] = module
    return module, run


@contextmanager
def _reported(path: Path, folder: Path, module: str) -> Iterator[None]:
    """Turn an exception of the study into a `StudyError`."""
    try:
        yield
    except (OrchestratorError, KeyboardInterrupt, EndOfLoading):
        raise
    except BaseException as error:  # a study may call exit(), too
        hidden = hidden_module(error)
        if hidden is not None:
            raise hidden from error
        raise StudyError(
            f"{path.name} can't be imported: {type(error).__name__}: {_message(error)}{_line(error, path, folder)}.",
            f"Fix it, and check {_how_to_check(path, module)}",
        ) from error


def _how_to_check(path: Path, module: str) -> str:
    """Return how to import a study without orchestrator: a module of a package can't be run as a file."""
    words = module.split(".")
    if len(words) == 1:
        return f"with: python {path}"
    root = path.absolute().parents[len(words) - 1] if path.is_file() else Path.cwd()
    place = "with" if root == Path.cwd() else f"in the folder {root} with"
    return f"{place}: python -m {module}"


def _message(error: BaseException) -> str:
    """Return the message of an error, without the place that a syntax error names, too."""
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _line(error: BaseException, study: Path, folder: Path) -> str:
    """Return the place of an error: the last line of the user's code, in the study or in a module in its folder."""
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places.append((Path(error.filename), error.lineno))
    own = [(file, line) for file, line in places if file.is_relative_to(folder)]
    if not own:
        return ""
    file, line = own[-1]
    return f" (line {line})" if file == study else f" ({file.relative_to(folder)}, line {line})"
