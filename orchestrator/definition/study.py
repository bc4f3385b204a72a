"""Load a study file, and find its pipeline and its cluster."""

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
    """A loaded study file.

    Attributes
    ----------
    pipeline : PipelineDefinition
        The pipeline.
    path : Path
        Absolute path of the file.
    attr : str
        Name of the pipeline in the file.
    clusters : mapping of str to SlurmCluster
        The clusters in the file, by name.
    """

    pipeline: PipelineDefinition
    path: Path
    attr: str
    clusters: Mapping[str, SlurmCluster] = field(default_factory=dict)


def load_study(source: str) -> Study:
    """Import a study file. Its `if __name__ == "__main__":` part does not run.

    Parameters
    ----------
    source : str
        `path.py`, or `path.py:attr` if the file defines several pipelines. Without `attr`, the pipeline named
        `pipeline` is used, else the only one.

    Returns
    -------
    Study
        The file's pipeline and clusters.

    Raises
    ------
    StudyError
        If the file does not exist, its import fails, or it does not define the pipeline.
    """
    file, _, attr = source.partition(":") if not Path(source).is_file() else (source, "", "")
    path = Path(file).resolve()
    if not path.is_file():
        raise StudyError(f"There is no study file {file}.", "Give the path of a Python file that defines a Pipeline.")
    module = _import(path)
    pipelines = {name: value for name, value in vars(module).items() if isinstance(value, PipelineDefinition)}
    if attr and attr not in pipelines and hasattr(module, attr):
        raise StudyError(
            f"{attr} in {path.name} is a {type(getattr(module, attr)).__name__}, not a Pipeline.",
            f"Use one of its pipelines: {', '.join(pipelines) or 'it defines none'}",
        )
    name = attr or ("pipeline" if "pipeline" in pipelines or len(pipelines) != 1 else next(iter(pipelines)))
    if name not in pipelines:
        known = ", ".join(pipelines) or "none"
        raise StudyError(
            f"{path.name} defines no pipeline named {name!r}; its pipelines: {known}.",
            f"Define pipeline = Pipeline(...) in it, or name one: {path.name}:NAME",
        )
    clusters = {name: value for name, value in vars(module).items() if isinstance(value, SlurmCluster)}
    return Study(pipelines[name], path, name, clusters)


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


def _import(path: Path) -> ModuleType:
    import cloudpickle

    name = f"_study_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path} is not a Python file.", "Give the path of a Python file that defines a Pipeline.")
    # As for a script: the study can import the modules in its folder.
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
            f"Fix it, and check with: python {path}",
        ) from error
    # A queued run must not depend on this file: its functions and classes are part of the pickles.
    cloudpickle.register_pickle_by_value(module)
    return module


def _line(error: BaseException, study: Path) -> str:
    """Return the place of an error: the last line of the user's code, in the study or in a module in its folder."""
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places.append((Path(error.filename), error.lineno))
    own = [(file, line) for file, line in places if file.is_relative_to(study.parent)]
    if not own:
        return ""
    file, line = own[-1]
    return f" (line {line})" if file == study else f" ({file.relative_to(study.parent)}, line {line})"
