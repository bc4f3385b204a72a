"""A table with other columns: one of them alone, or an input that becomes an output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.data.domain import Domain
from orchestrator.data.table import Table

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["move_parameter", "only_parameter"]


def only_parameter(data: ExperimentData, name: str) -> tuple[Domain, Table]:
    """Return the domain and the cells of one input or output, with all rows and their statuses.

    Raises
    ------
    KeyError
        If the domain has neither.
    """
    domain, table = data.domain, data._table
    empty = Table(table.labels, {}, {}, bytearray(table.status))
    if name in domain.input_space:
        part = Domain({name: domain.input_space[name]})
    elif name in domain.output_space:
        part = Domain({}, {name: domain.output_space[name]}, {name} & domain.found_outputs)
    else:
        raise KeyError(f"the domain has neither an input nor an output {name!r}")
    for which, space in (("input", part.input_space), ("output", part.output_space)):
        if space and name in table.columns(which):
            empty.columns(which)[name] = table.columns(which)[name].copy()
    return part, empty.copy()


def move_parameter(data: ExperimentData, name: str, to: str) -> None:
    """Turn an input into an output, or an output into an input.

    Parameters
    ----------
    data : ExperimentData
        The table that is changed.
    name : str
        Name of the input or output.
    to : {"input", "output"}
        What it becomes.

    Raises
    ------
    KeyError
        If there is no such input or output.
    """
    origin = "input" if to == "output" else "output"
    spaces = {"input": data.domain.input_space, "output": data.domain.output_space}
    if name not in spaces[origin]:
        raise KeyError(f"the domain has no {origin} {name!r}")
    spaces[to][name] = spaces[origin].pop(name)
    data.domain.found_outputs.discard(name)
    columns = data._table.columns(origin)
    if name in columns:
        data._table.columns(to)[name] = columns.pop(name)
