"""Frames: the labels, the statuses, the inputs or the outputs of a table as objects of pandas."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.column import Column
from orchestrator.data.columns import series_of
from orchestrator.data.contents import Contents
from orchestrator.data.job_status import JobStatus
from orchestrator.data.parameters import Parameter
from orchestrator.data.references import Reference
from orchestrator.data.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_of", "index_of", "statuses_of"]


def index_of(table: Table) -> pd.Index[Any]:
    """Return the labels of the rows."""
    import numpy as np
    import pandas as pd

    consecutive = table.labels.consecutive
    labels = list(table.labels) if consecutive is None else consecutive
    return pd.Index(np.fromiter(labels, np.int64, len(labels)))


def statuses_of(table: Table) -> pd.Series[Any]:
    """Return the statuses of the rows as text."""
    import numpy as np
    import pandas as pd

    names = np.array([status.name for status in JobStatus], dtype=object)
    return pd.Series(names[np.frombuffer(table.status, np.uint8)], index=index_of(table), dtype=object)


def frame_of(contents: Contents, which: str, keep_references: bool) -> pd.DataFrame:
    """Return the inputs or the outputs of a table.

    Parameters
    ----------
    contents : Contents
        The table.
    which : {"input", "output"}
        Which of the two.
    keep_references : bool
        Whether the DataFrame has the paths of objects on disk; otherwise each is loaded when it is looked at.

    Returns
    -------
    pandas.DataFrame
        A copy.
    """
    import pandas as pd

    space, index, built = contents.space(which), index_of(contents.table), {}
    for name, column in contents.table.columns(which).items():
        parameter = space.get(name)
        if parameter is None or not parameter.to_disk or keep_references:
            built[name] = series_of(column, index)
        else:
            built[name] = _on_disk(parameter, column, index, contents.project_dir)
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
