"""Tables with changed columns: one column alone, an input that becomes an output, values that are replaced."""

from __future__ import annotations

from typing import Any

from orchestrator.data.contents import Contents
from orchestrator.data.domain import Domain
from orchestrator.data.table import Table

__all__ = ["move_parameter", "only_parameter", "replace_missing", "round_floats"]


def only_parameter(contents: Contents, name: str) -> Contents:
    """Return one input or output, with all rows and their statuses.

    Raises
    ------
    KeyError
        If the domain has neither.
    """
    domain, table = contents.domain, contents.table
    part = Table(table.labels.copy(), {}, {}, bytearray(table.status))
    if name in domain.input_space:
        only, which = Domain({name: domain.input_space[name]}), "input"
    elif name in domain.output_space:
        only, which = Domain({}, {name: domain.output_space[name]}, {name} & domain.found_outputs), "output"
    else:
        raise KeyError(f"the domain has neither an input nor an output {name!r}")
    if name in table.columns(which):
        part.columns(which)[name] = table.columns(which)[name].copy()
    alone = Contents(only, part, contents.project_dir)
    alone.add_declared_columns()
    return alone


def move_parameter(contents: Contents, name: str, to: str) -> None:
    """Turn an input into an output, or an output into an input.

    Parameters
    ----------
    contents : Contents
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
    if name not in contents.space(origin):
        raise KeyError(f"the domain has no {origin} {name!r}")
    contents.space(to)[name] = contents.space(origin).pop(name)
    contents.domain.found_outputs.discard(name)
    columns = contents.table.columns(origin)
    if name in columns:
        contents.table.columns(to)[name] = columns.pop(name)


def replace_missing(contents: Contents, value: Any) -> None:
    """Replace missing values in every column, but not where None is one of the input's values."""
    for which in ("input", "output"):
        contents.table.map_cells(
            which,
            lambda cell: value if cell is None else cell,
            but={name for name, parameter in contents.space(which).items() if parameter.allows_none},
        )


def round_floats(contents: Contents, decimals: int) -> None:
    """Round the floats in every column."""
    for which in ("input", "output"):
        contents.table.map_cells(which, lambda cell: round(cell, decimals) if isinstance(cell, float) else cell)
