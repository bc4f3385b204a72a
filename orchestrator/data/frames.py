"""Frames: the inputs or the outputs of a table as a DataFrame of pandas."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.column import Column, Columns
from orchestrator.data.columns import series_of
from orchestrator.data.parameters import Parameter
from orchestrator.errors import NotAllowed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_of"]


def frame_of(
    columns: Columns, index: pd.Index[Any], objects: Mapping[str, Parameter], project_dir: Path
) -> pd.DataFrame:
    """Return columns as a DataFrame.

    Parameters
    ----------
    columns : dict of str to Column
        The columns by name.
    index : pandas.Index
        Labels of the rows.
    objects : Mapping of str to Parameter
        The parameters of the columns whose objects on disk are to be loaded, by name.
    project_dir : Path
        The project folder.

    Returns
    -------
    pandas.DataFrame
        A copy.
    """
    import pandas as pd

    built = {}
    for name, column in columns.items():
        shown = _loaded(name, objects[name], column, project_dir) if name in objects else column
        built[name] = series_of(shown, index)
    return pd.DataFrame(built, index=index)


def _loaded(name: str, parameter: Parameter, column: Column, project_dir: Path) -> Column:
    """Return the objects of a column; their paths instead, with a warning, if they may not be loaded."""
    try:
        return Column([None if cell is None else parameter.refer_to(cell).load(project_dir) for cell in column])
    except NotAllowed as error:
        warnings.warn(f"The objects of {name!r} were not loaded: {error}", stacklevel=5)
        return column
