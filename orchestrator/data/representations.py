"""A table as objects of other packages: one DataFrame with inputs, outputs and statuses, or a Dataset of xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["to_multiindex", "to_text", "to_xarray"]


def to_multiindex(data: ExperimentData) -> pd.DataFrame:
    """Return one DataFrame, whose columns have two levels: `jobs`, `input` or `output`, and the name."""
    return _joined(data, data.jobs.str.lower())


def to_text(data: ExperimentData) -> str:
    """Return the text of such a DataFrame, with the statuses in upper case."""
    return repr(_joined(data, data.jobs))


def _joined(data: ExperimentData, jobs: pd.Series[Any]) -> pd.DataFrame:
    import pandas as pd

    inputs, outputs = data.to_pandas(keep_references=True)
    parts = {"jobs": jobs.to_frame(""), "input": inputs, "output": outputs}
    return pd.concat({name: part for name, part in parts.items() if part.shape[1]}, axis=1)


def to_xarray(data: ExperimentData, keep_references: bool) -> Any:
    """Return a Dataset with the arrays `input` and `output`, of rows and names."""
    try:
        import xarray as xr
    except ImportError as error:
        raise DataError("to_xarray needs xarray, which is not installed.", "Type: pip install xarray") from error
    inputs, outputs = data.to_pandas(keep_references)
    arrays = {}
    for name, frame in (("input", inputs), ("output", outputs)):
        coordinates = {"iterations": data.index, f"{name}_dim": frame.columns}
        arrays[name] = xr.DataArray(frame.to_numpy(), dims=list(coordinates), coords=coordinates)
    return xr.Dataset(arrays)
