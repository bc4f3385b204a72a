"""Load a study file, and find the pipeline in it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.definition.resources import SlurmCluster
from orchestrator.errors import OrchestratorError, StudyError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Study", "cluster_of", "load_study"]


@dataclass(frozen=True)
class Study:
    """A study file, loaded.

    Attributes
    ----------
    pipeline : PipelineDefinition
    path : Path
        Absolute.
    attr : str
        Name of the pipeline in the file.
    clusters : mapping
        The clusters in the file, by name.
    """

    pipeline: PipelineDefinition
    path: Path
    attr: str
    clusters: Mapping[str, SlurmCluster] = field(default_factory=dict)


def load_study(source: str) -> Study:
    """Import a study file; its `if __name__ == "__main__":` part does not run.

    Parameters
    ----------
    source : str
        `path.py`, or `path.py:attr` where the file holds several pipelines. Without `attr`, `pipeline` is meant, or
        else the only one.

    Raises
    ------
    StudyError
        If there is no such file, importing it fails, or it holds no pipeline.
    """
    file, _, attr = source.partition(":") if not Path(source).is_file() else (source, "", "")
    path = Path(file).resolve()
    if not path.is_file():
        raise StudyError(f"There is no study file {file}.", "Give the path of a Python file that holds a Pipeline.")
    module = _import(path)
    pipelines = {name: value for name, value in vars(module).items() if isinstance(value, PipelineDefinition)}
    if attr and attr not in pipelines and hasattr(module, attr):
        raise StudyError(
            f"{attr} in {path.name} is no Pipeline but {type(getattr(module, attr)).__name__}.",
            f"Name one of its pipelines: {', '.join(pipelines) or 'it has none'}",
        )
    name = attr or ("pipeline" if "pipeline" in pipelines or len(pipelines) != 1 else next(iter(pipelines)))
    if name not in pipelines:
        known = ", ".join(pipelines) or "none"
        raise StudyError(
            f"{path.name} holds no pipeline named {name!r}; its pipelines: {known}.",
            f"Define pipeline = Pipeline(...) in it, or name one: {path.name}:NAME",
        )
    clusters = {name: value for name, value in vars(module).items() if isinstance(value, SlurmCluster)}
    return Study(pipelines[name], path, name, clusters)


def cluster_of(study: Study, file: str | None) -> SlurmCluster:
    """Find the cluster that a study is for.

    Parameters
    ----------
    study : Study
    file : str or None
        A YAML file. Without one, the cluster in the study is meant: that named `cluster`, or the only one.

    Raises
    ------
    StudyError
        If there is none, or several.
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
            f"{study.path.name} holds no SlurmCluster named 'cluster'; its clusters: {known}.",
            "Define cluster = SlurmCluster(partition=..., account=...) in it, or give --cluster FILE.yaml",
        )
    return found[name]


def _import(path: Path) -> ModuleType:
    import cloudpickle

    name = f"_study_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path} is no Python file.", "Give the path of a Python file that holds a Pipeline.")
    # As for a script: what lies beside the study can be imported.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (OrchestratorError, KeyboardInterrupt):
        del sys.modules[name]
        raise
    except BaseException as error:  # a study may call exit(), too
        del sys.modules[name]
        raise StudyError(
            f"{path.name} can't be imported: {type(error).__name__}: {error}{_line(error, path)}.",
            f"Mend it, then see that this works: python {path}",
        ) from error
    # A queued run must not look for this file: what it defines travels with the run.
    cloudpickle.register_pickle_by_value(module)
    return module


def _line(error: BaseException, study: Path) -> str:
    """Tell where it went wrong: the last line of the user's own code, in the study or in a module beside it."""
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places.append((Path(error.filename), error.lineno))
    own = [(file, line) for file, line in places if file.is_relative_to(study.parent)]
    if not own:
        return ""
    file, line = own[-1]
    return f" (line {line})" if file == study else f" ({file.relative_to(study.parent)}, line {line})"
