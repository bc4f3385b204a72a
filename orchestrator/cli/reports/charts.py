"""Which experiments and columns the charts of a report show, and how the best objective converged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from orchestrator.cli.reports.report_values import Axis, Charts, Convergence, Iteration
from orchestrator.cli.table_text import cell_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orchestrator.cli.table_rows import Rows

__all__ = ["charts_of", "convergence_of"]

MOST_NUMBERS = 700_000
"""Numbers that a report contains: a file of less than 5 MB. With more, it contains only some of the experiments."""

MOST_INPUTS, MOST_CATEGORIES = 12, 30
"""Inputs that are drawn, and values of an input that is not a number."""

BEST = 100
"""Number of the best experiments that are always shown."""

MOST_ITERATIONS = 2000

LOG_RATIO = 100.0
"""A positive column gets a logarithmic scale if nine tenths of its values differ by more than this factor.

An input that the study samples on a logarithmic scale gets one in any case."""


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
    frame, iterations = _in_order(best)
    values = frame[objective].to_numpy(dtype=float)
    accumulate = np.maximum if largest else np.minimum
    so_far = accumulate.accumulate(values)
    changes = np.flatnonzero(np.diff(so_far, prepend=np.nan) != 0)
    steps = [(int(at) + 1, float(so_far[at])) for at in changes]
    if changes[-1] != len(so_far) - 1:
        steps.append((len(so_far), float(so_far[-1])))
    return Convergence(steps, _by_iteration(values, iterations, largest=largest))


def _by_iteration(values: NDArray[Any], iterations: NDArray[Any], *, largest: bool) -> list[Iteration]:
    found = pd.Series(values).groupby(iterations).agg(["count", "max" if largest else "min", "median"])
    ordered = found.loc[sorted(found.index, key=_order)].iloc[:MOST_ITERATIONS]
    n, best, median = (ordered[column].to_numpy() for column in ordered.columns)
    so_far = np.maximum.accumulate(best) if largest else np.minimum.accumulate(best)
    columns = zip(ordered.index, n, best, median, so_far, strict=True)
    return [Iteration(str(name), int(many), *map(float, rest)) for name, many, *rest in columns]


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdecimal())


def _in_order(rows: Rows) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Return experiments in the order in which they ended, those without a record first; and their iterations."""
    of_label = dict(zip(rows.table.data.labels(), rows.table.records, strict=True))
    records = [of_label[label] for label in rows.frame.index]
    ended = [-np.inf if record is None else record.started_at + (record.seconds or 0.0) for record in records]
    iterations = np.array(["" if record is None else record.iteration for record in records], dtype=object)
    order = np.argsort(ended, kind="stable")
    return rows.frame.iloc[order], iterations[order]


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
    frame, of_row = _in_order(best)
    names = {iteration.name: at for at, iteration in enumerate(convergence.iterations)}
    drawn = [name for name in best.inputs if _is_drawn(frame[name])][:MOST_INPUTS]
    shown = _shown_positions(frame, best, 3 + len(drawn))
    logs = {
        str(name) for name, parameter in best.table.data.domain.input_space.items() if getattr(parameter, "log", False)
    }
    iterations = np.array([names.get(name, len(names) - 1) for name in of_row[shown]], dtype=np.float32)
    return Charts(
        n=len(frame),
        numbers=(shown + 1).astype(np.float32),
        iterations=iterations,
        objective=_axis(objective, frame[objective].iloc[shown]),
        inputs=[_axis(name, frame[name].iloc[shown], is_log=name in logs) for name in drawn],
        left_out=[name for name in best.inputs if name not in drawn],
    )


def _shown_positions(frame: pd.DataFrame, best: Rows, n_columns: int) -> NDArray[np.int64]:
    """Return the positions of all experiments; of too many, every so many, and the best hundred."""
    most = MOST_NUMBERS // n_columns
    if len(frame) <= most:
        return np.arange(len(frame))
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[:: -(-len(frame) // (most - BEST))] = True
    return np.flatnonzero(chosen | frame.index.isin(best.frame.index[:BEST]))


def _is_drawn(column: pd.Series[Any]) -> bool:
    """Whether an input is drawn: it has several values and, unless they are numbers, at most `MOST_CATEGORIES`."""
    if _is_number(column):
        return column.nunique() > 1
    return 1 < len(_texts(column).dropna().unique()) <= MOST_CATEGORIES


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map(cell_text, na_action="ignore")


def _axis(name: str, column: pd.Series[Any], *, is_log: bool = False) -> Axis:
    if _is_number(column):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return Axis(name, _float32(values), (), _spans_magnitudes(values) or (is_log and bool(np.nanmin(values) > 0)))
    texts = _texts(column)
    categories = sorted(texts.dropna().unique())
    codes = texts.map({text: at for at, text in enumerate(categories)})
    return Axis(name, codes.to_numpy(dtype=np.float32), categories, False)


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return np.where(np.isfinite(narrow), narrow, np.float32(np.nan))


def _spans_magnitudes(values: NDArray[Any]) -> bool:
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() <= 0:
        return False
    low, high = np.quantile(finite, (0.05, 0.95))
    return bool(high / low > LOG_RATIO)
