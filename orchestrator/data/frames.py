"""Frames: the inputs or the outputs of a table as a DataFrame of pandas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.column import Column, Columns
from orchestrator.data.columns import series_of
from orchestrator.data.parameters import Parameter
from orchestrator.data.references import Reference

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
        The parameters of the columns of objects on disk, by name. Each object is loaded when it is looked at.
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
        shown = _on_disk(objects[name], column, index, project_dir) if name in objects else series_of(column, index)
        built[name] = shown
    return pd.DataFrame(built, index=index)


def _on_disk(parameter: Parameter, column: Column, index: pd.Index[Any], project_dir: Path) -> pd.Series[Any]:
    """Return a column of objects on disk, each of which is loaded when it is looked at."""
    import pandas as pd

    from orchestrator.data.objects_on_disk import ObjectsOnDisk

    references = [None if cell is None else parameter.refer_to(cell) for cell in column]
    return pd.Series(ObjectsOnDisk(references, partial(_load, project_dir)), index=index)


def _load(project_dir: Path, reference: Reference) -> Any:
    """Read an object. A function of the module, so that the DataFrame can be pickled."""
    return reference.load(project_dir)
