"""The columns of a table that the charts of a report show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from orchestrator.cli.reports.model import Axis, Charts, Convergence, Iteration
from orchestrator.cli.table_text import cell_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orchestrator.cli.table_rows import Rows

__all__ = ["charts_of", "convergence_of"]

MOST_NUMBERS = 700_000
"""Numbers that a report contains: a file of less than 5 MB. With more, it contains only some of the experiments."""

MOST_INPUTS, MOST_CATEGORIES = 12, 30
"""Inputs that are drawn, and values of an input that is not a number."""

MOST_ITERATIONS = 2000

LOG_RATIO = 100.0
"""A positive column gets a logarithmic scale if nine tenths of its values differ by more than this factor."""


def convergence_of(best: Rows, objective: str, *, largest: bool) -> Convergence:
    """Return how the best objective improved.

    Parameters
    ----------
    best : Rows
        The finished experiments.
    objective : str
        The column that is compared.
    largest : bool
        Whether its largest value is the best one.
    """
    frame = _in_order(best)
    values = frame[objective].to_numpy(dtype=float)
    accumulate = np.maximum if largest else np.minimum
    so_far = accumulate.accumulate(values)
    changes = np.flatnonzero(np.diff(so_far, prepend=np.nan) != 0)
    steps = [(int(at) + 1, float(so_far[at])) for at in changes]
    if changes[-1] != len(so_far) - 1:
        steps.append((len(so_far), float(so_far[-1])))
    return Convergence(steps, _iterations(frame, objective, largest=largest))


def _iterations(frame: pd.DataFrame, objective: str, *, largest: bool) -> list[Iteration]:
    names = _iteration_names(frame)
    grouped = pd.Series(frame[objective].to_numpy(dtype=float)).groupby(names.to_numpy())
    found = grouped.agg(["count", "max" if largest else "min", "median"])
    ordered = found.loc[sorted(found.index, key=_order)].iloc[:MOST_ITERATIONS]
    n, best, median = (ordered[column].to_numpy() for column in ordered.columns)
    so_far = np.maximum.accumulate(best) if largest else np.minimum.accumulate(best)
    columns = zip(ordered.index, n, best, median, so_far, strict=True)
    return [Iteration(str(name), int(many), *map(float, values)) for name, many, *values in columns]


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdecimal())


def _iteration_names(frame: pd.DataFrame) -> pd.Series[Any]:
    return frame["iteration"].astype(object).where(frame["iteration"].notna(), "").astype(str)


def _in_order(rows: Rows) -> pd.DataFrame:
    """Return experiments in the order in which they ended; those without a record first."""
    names = {"step", "iteration", "started_at", "seconds"}
    of_records = [name for name in map(str, rows.frame.columns) if name.rstrip("_") in names]
    frame = rows.frame.copy(deep=False)
    for name in of_records:
        if name not in (*rows.inputs, *rows.outputs):
            frame[name.rstrip("_")] = rows.frame[name]
    ended = frame["started_at"] + pd.to_timedelta(frame["seconds"].fillna(0.0), unit="s")
    return frame.assign(**{"": ended}).sort_values([""], kind="stable", na_position="first")


def charts_of(best: Rows, objective: str, convergence: Convergence) -> Charts:
    """Return what the charts show of finished experiments.

    Parameters
    ----------
    best : Rows
        The finished experiments, the best first.
    objective : str
        The column that is compared.
    convergence : Convergence
        From `convergence_of`.
    """
    frame = _in_order(best)
    names = {iteration.name: at for at, iteration in enumerate(convergence.iterations)}
    frame["iteration of it"] = _iteration_names(frame).map(names).fillna(-1)
    frame["number of it"] = np.arange(1, len(frame) + 1)
    drawn = [name for name in best.inputs if _is_drawn(frame[name])]
    shown = _some(frame, best, 3 + min(len(drawn), MOST_INPUTS))
    return Charts(
        n=len(frame),
        numbers=shown["number of it"].to_numpy(dtype=np.float32),
        iterations=shown["iteration of it"].to_numpy(dtype=np.float32),
        objective=_axis(objective, shown[objective]),
        inputs=[_axis(name, shown[name]) for name in drawn[:MOST_INPUTS]],
        left_out=[name for name in best.inputs if name not in drawn[:MOST_INPUTS]],
    )


def _some(frame: pd.DataFrame, best: Rows, n_columns: int) -> pd.DataFrame:
    """Return all experiments; of too many, every so many, and the best hundred."""
    most = MOST_NUMBERS // n_columns
    if len(frame) <= most:
        return frame
    step = -(-len(frame) // (most - 100))
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[::step] = True
    return frame[chosen | frame.index.isin(best.frame.index[:100])]


def _is_drawn(column: pd.Series[Any]) -> bool:
    if _is_number(column):
        return column.nunique() > 1
    return 1 < len(_texts(column).dropna().unique()) <= MOST_CATEGORIES


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map(cell_text, na_action="ignore")


def _axis(name: str, column: pd.Series[Any]) -> Axis:
    if _is_number(column):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return Axis(name, _float32(values), (), _is_log(values))
    texts = _texts(column)
    categories = sorted(texts.dropna().unique())
    codes = texts.map({text: at for at, text in enumerate(categories)})
    return Axis(name, codes.to_numpy(dtype=np.float32), categories, False)


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return np.where(np.isfinite(narrow), narrow, np.float32(np.nan))


def _is_log(values: NDArray[Any]) -> bool:
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() <= 0:
        return False
    low, high = np.quantile(finite, (0.05, 0.95))
    return bool(high / low > LOG_RATIO)
