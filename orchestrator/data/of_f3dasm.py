"""Objects of f3dasm: recognised by the names of their classes, without an import of f3dasm, and converted.

f3dasm is imported only where an object of f3dasm is at hand. Its process has imported it then. What a pipeline makes of
blocks and resources of f3dasm: `our_step_block` and `our_settings` in `orchestrator.definition.f3dasm_blocks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.references import Reference, write_object

if TYPE_CHECKING:
    from orchestrator.data.domain import Domain
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.experiment_sample import ExperimentSample
    from orchestrator.data.parameters import Parameter

__all__ = [
    "is_of_f3dasm",
    "is_overridden",
    "our_domain",
    "our_sample",
    "our_table",
    "copy_values",
    "their_domain",
    "their_sample",
    "their_table",
]

F3DASM = "f3dasm"


def is_of_f3dasm(value: Any, *names: str) -> bool:
    """Whether a value is an object of f3dasm, or of a class that is derived from a class of f3dasm.

    Parameters
    ----------
    value : Any
        The value.
    *names : str
        Names of classes of f3dasm. Without names, any class of f3dasm.

    Returns
    -------
    bool
        True if one of the classes of the value is one of these.
    """
    return any(_is_own(cls) and (not names or cls.__name__ in names) for cls in type(value).__mro__)


def is_overridden(value: Any, method: str) -> bool:
    """Whether a class outside of f3dasm defines a method of an object of f3dasm."""
    return not _is_own(next(cls for cls in type(value).__mro__ if method in vars(cls)))


def _is_own(cls: type) -> bool:
    return str(cls.__module__).partition(".")[0] == F3DASM


# --- from f3dasm ---------------------------------------------------------------------------------


def our_table(data: Any, before: ExperimentData | None = None) -> ExperimentData:
    """Convert a table of f3dasm.

    Parameters
    ----------
    data : f3dasm.ExperimentData or ExperimentData
        The table. One of ours is returned unchanged.
    before : ExperimentData, optional
        The table that a block of f3dasm was given. Only its declared outputs are declared: f3dasm adds each output that
        is stored to the domain.

    Returns
    -------
    ExperimentData
        A table with the same labels, values and statuses.
    """
    from orchestrator.data.experiment_data import ExperimentData

    if isinstance(data, ExperimentData):
        return data
    if not is_of_f3dasm(data, "ExperimentData"):
        raise TypeError(f"it must be an ExperimentData, not {type(data).__name__}")
    project_dir = Path(data.project_dir)
    samples = {int(label): our_sample(sample, int(label), project_dir) for label, sample in data}
    domain = our_domain(data.domain)
    declared = set[str]()
    if before is not None:
        declared = before.domain.output_space.keys() - before.domain.found_outputs
        domain.notes = dict(before.domain.notes)
    domain.found_outputs = domain.output_space.keys() - declared
    return ExperimentData.from_data(samples, domain, project_dir)


def our_sample(sample: Any, label: int, project_dir: Path) -> ExperimentSample:
    """Convert an experiment of f3dasm; objects that are to be on disk are written."""
    from orchestrator.data.experiment_sample import ExperimentSample

    if isinstance(sample, ExperimentSample):
        return sample
    if not is_of_f3dasm(sample, "ExperimentSample"):
        raise TypeError(f"it must be an ExperimentSample, not {type(sample).__name__}")
    ours = ExperimentSample(project_dir=project_dir, id=label)
    copy_values(ours, sample)
    return ours


def copy_values(ours: ExperimentSample, theirs: Any) -> None:
    """Give an experiment the inputs, outputs and status of one of f3dasm, or of another one of ours.

    Parameters
    ----------
    ours : ExperimentSample
        The experiment that is changed.
    theirs : f3dasm.ExperimentSample or ExperimentSample
        Where the values come from.
    """
    for name, value in theirs._input_data.items():
        ours._input_data[name] = _our_value(value, ours, name)
    for name, value in theirs._output_data.items():
        ours._output_data[name] = _our_value(value, ours, name)
    ours.mark(theirs.job_status.name)


def _our_value(value: Any, sample: ExperimentSample, name: str) -> Any:
    if is_of_f3dasm(value, "ReferenceValue"):
        return Reference(str(value.reference), value.load_function, value.load_kwargs)
    if is_of_f3dasm(value, "ToDiskValue"):
        path = write_object(sample.project_dir, name, sample._identity(), value.object, value.store_function)
        return Reference(path, value.load_function, value.load_kwargs)
    return value


def our_domain(domain: Any) -> Domain:
    """Convert a domain of f3dasm; one of ours is returned unchanged."""
    from orchestrator.data.domain import Domain

    if isinstance(domain, Domain):
        return domain
    if not is_of_f3dasm(domain, "Domain"):
        raise TypeError(f"it must be a Domain, not {type(domain).__name__}")
    return Domain(
        {name: _our_parameter(parameter) for name, parameter in domain.input_space.items()},
        {name: _our_parameter(parameter) for name, parameter in domain.output_space.items()},
    )


def _our_parameter(theirs: Any) -> Parameter:
    from orchestrator.data.parameters import PARAMETER_TYPES, Parameter

    if not is_of_f3dasm(theirs, "Parameter"):
        return theirs  # type: ignore[no-any-return]
    for cls in PARAMETER_TYPES.values():
        if is_of_f3dasm(theirs, cls.__name__):
            return cls(**{name: getattr(theirs, name) for name in cls.own_fields})
    functions = (theirs.store_function, theirs.load_function, theirs.load_kwargs) if theirs.to_disk else ()
    return Parameter(bool(theirs.to_disk), *functions)


# --- to f3dasm -----------------------------------------------------------------------------------


def their_table(data: ExperimentData) -> Any:
    """Convert a table to one of f3dasm.

    Parameters
    ----------
    data : ExperimentData or f3dasm.ExperimentData
        The table. One of f3dasm is returned unchanged.

    Returns
    -------
    f3dasm.ExperimentData
        A table with the same labels, values and statuses. Without a class `f3dasm.ExperimentData`, ours.
    """
    table = getattr(import_module(F3DASM), "ExperimentData", None)
    if table is None or is_of_f3dasm(data, "ExperimentData"):
        return data
    samples = {label: their_sample(sample) for label, sample in data}
    return table.from_data(data=samples, domain=their_domain(data.domain), project_dir=data.project_dir)


def their_sample(sample: ExperimentSample) -> Any:
    """Convert an experiment to one of f3dasm. Without a class `f3dasm.ExperimentSample`, return a copy."""
    cls = getattr(import_module(F3DASM), "ExperimentSample", type(sample))
    return cls(
        _input_data=_their_values(sample._input_data),
        _output_data=_their_values(sample._output_data),
        job_status=sample.job_status.name,
        project_dir=Path(sample.project_dir),
    )


def _their_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _their_reference(value) if isinstance(value, Reference) else value for name, value in values.items()}


def _their_reference(reference: Reference) -> Any:
    from orchestrator.data.load_functions import decode_function

    cls = import_module(f"{F3DASM}._src._io").ReferenceValue
    load_function, load_kwargs = (decode_function(f) for f in (reference.load_function, reference.load_kwargs))
    return cls(Path(reference.path), load_function, load_kwargs)


def their_domain(domain: Domain) -> Any:
    """Convert a domain to one of f3dasm."""
    theirs = import_module(f"{F3DASM}.design").Domain()
    for name, parameter in domain.input_space.items():
        _add_input(theirs, name, parameter)
    for name, parameter in domain.output_space.items():
        theirs.add_output(name, **_storing(parameter))
    return theirs


def _add_input(theirs: Any, name: str, parameter: Any) -> None:
    bounds = {"low": "lower_bound", "high": "upper_bound"}
    arguments = {
        "float": {**bounds, "log": "log"},
        "int": {**bounds, "step": "step"},
        "category": {"categories": "categories"},
        "constant": {"value": "value"},
        "array": {"shape": "shape", **bounds},
    }.get(parameter.type_name)
    if arguments is None:
        theirs.add_parameter(name, **_storing(parameter))
    else:
        values = {theirs_name: getattr(parameter, ours) for theirs_name, ours in arguments.items()}
        theirs.add(name, parameter.type_name, **values)
        if parameter.type_name == "array":
            _make_bounds_arrays(theirs.input_space[name])


def _make_bounds_arrays(parameter: Any) -> None:
    import numpy as np

    for bound in ("lower_bound", "upper_bound"):
        setattr(parameter, bound, np.broadcast_to(np.asarray(getattr(parameter, bound), float), parameter.shape))


def _storing(parameter: Parameter) -> dict[str, Any]:
    names = ("to_disk", "store_function", "load_function", "load_kwargs") if parameter.to_disk else ()
    return {name: getattr(parameter, name) for name in names}
