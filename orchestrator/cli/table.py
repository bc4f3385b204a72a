"""`orchestrator table`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.output_file import make_folder_of
from orchestrator.cli.render import echo, echo_output, plural, say, to_json
from orchestrator.cli.workspace import examples, workspace_of, workspace_options
from orchestrator.errors import DataError
from orchestrator.host import is_terminal, terminal_width
from orchestrator.text import clean

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.cli.table_rows import Rows

__all__ = ["command"]

ON_TERMINAL, BEST = 40, 10
"""Number of rows that are shown on a terminal, and of the best ones."""


@click.command(
    epilog=examples(
        "orchestrator table",
        "orchestrator table 1795531215 --where \"status == 'ERROR' and x > 1\"",
        "orchestrator table --best y --columns x,y,iteration,seconds",
        "orchestrator table --csv results.csv",
    )
)
@click.argument("run", required=False)
@click.option("--where", metavar="CONDITION", help="Only rows for which this is true; as of pandas.DataFrame.query.")
@click.option("--best", metavar="OUTPUT", help="Only finished experiments, the smallest value of this output first.")
@click.option("--max", "largest", is_flag=True, help="With --best: the largest value first.")
@click.option("--columns", metavar="NAMES", help="Only these columns, separated by commas.")
@click.option(
    "--rows", "n_rows", type=click.IntRange(min=1), metavar="N", help="Number of rows. [default: on a terminal 40]"
)
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a CSV file.")
@click.option(
    "--parquet", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a Parquet file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--project-dir", metavar="DIR", help="Which table, if the run has several.")
@workspace_options
def command(
    run: str | None,
    where: str | None,
    best: str | None,
    largest: bool,
    columns: str | None,
    n_rows: int | None,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
    project_dir: str | None,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Print the experiments of a run, or write them to a file.

    RUN defaults to the latest run, which may be active. The columns are the status, the inputs and outputs, the step,
    iteration and attempt that evaluated the experiment, seconds, CPU time, memory in MB, host, time of its beginning,
    and the type of its error. A terminal shows as many as fit. Files contain all columns, and all rows without --rows.
    """
    from orchestrator.cli.run_table import evaluated_now, one_table
    from orchestrator.cli.table_rows import best_first, rows_of, selected
    from orchestrator.cli.table_rows import where as rows_where
    from orchestrator.db.status import run_status

    if as_json and (csv or parquet or columns):
        raise click.UsageError("--json prints all columns; use it without --columns, --csv and --parquet.")
    if largest and best is None:
        raise click.UsageError("--max needs --best OUTPUT.")
    workspace = workspace_of(rootdir, db)
    status = run_status(workspace.database, run)
    key = status.run.key
    table = one_table(workspace, key, project_dir)
    rows = rows_of(table, key, evaluated_now(workspace, status, table.project_dir))
    if where is not None:
        rows = rows_where(rows, where)
    if best is not None:
        rows = best_first(rows, best, largest=largest)
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    shown = rows if names is None else selected(rows, names)
    if csv is not None or parquet is not None:
        frame = shown.frame if n_rows is None else shown.frame.iloc[:n_rows]
        _write(frame, csv, parquet)
    elif as_json:
        echo(to_json(rows.as_json()[:n_rows]))
    else:
        _print(shown, n_rows or _default_rows(best), None if names is None else list(map(str, shown.frame.columns)))


def _default_rows(best: str | None) -> int | None:
    if best is not None:
        return BEST
    return ON_TERMINAL if is_terminal(sys.stdout) else None


def _print(rows: Rows, n_rows: int | None, names: list[str] | None) -> None:
    from orchestrator.cli.table_text import columns_that_fit, left_out, rows_text

    if not len(rows.frame):
        say("No experiments.", err=True)
        return
    # Into a file or a pipe, all columns are written, unless COLUMNS says how many characters fit.
    width = terminal_width(0) or None
    shown = columns_that_fit(rows, n_rows, width) if names is None else names
    click.echo("\n".join(rows_text(rows, shown, n_rows)))
    for line in left_out(rows, shown, n_rows):
        say(line, err=True)


def _write(frame: pd.DataFrame, csv: Path | None, parquet: Path | None) -> None:
    """Write rows to files.

    Raises
    ------
    DataError
        If a file can't be written, or a package is missing.
    """
    frame = _with_plain_cells(frame)
    if csv is not None and str(csv) == "-":
        echo_output(frame.to_csv().encode())
    elif csv is not None:
        _write_file(csv, frame, lambda path: frame.to_csv(path))
    if parquet is not None:
        _check_pyarrow(parquet)
        _write_file(parquet, frame, lambda path: frame.to_parquet(path, engine="pyarrow"))


def _with_plain_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose arrays and lists are JSON, and whose columns with several types are text."""
    import pandas as pd

    frame = frame.copy()
    for name in [name for name in frame.columns if pd.api.types.is_object_dtype(frame[name])]:
        cells = [_plain_cell(cell) for cell in frame[name]]
        if len({type(cell) for cell in cells if cell is not None}) > 1:
            cells = [None if cell is None else str(cell) for cell in cells]
        frame[name] = pd.Series(cells, frame.index, dtype=object)
    return frame


def _plain_cell(cell: Any) -> Any:
    from orchestrator.data.values import is_missing

    if is_missing(cell):
        return None
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, str):
        return clean(cell)  # no file accepts a lone surrogate
    return cell if isinstance(cell, int | float) else json.dumps(cell, default=str)


def _write_file(path: Path, frame: pd.DataFrame, write: Callable[[Path], object]) -> None:
    """Write a file aside and rename it, so that an error leaves the old one."""
    # Its end is that of the name: pandas compresses a file by that. No other user can guess it and put a link there.
    aside = path.with_name(f".{os.urandom(8).hex()}.{path.name}")
    try:
        make_folder_of(path)
        try:
            write(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror or error}.", "Name another file.") from error
    echo(f"Wrote {plural(len(frame), 'row')} to {path}.", err=True)


def _check_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            "--parquet needs pyarrow, which is not installed.",
            f"Install it: {shlex.quote(sys.executable)} -m pip install pyarrow\n"
            f"Or write a CSV file: --csv {shlex.quote(str(path.with_suffix('.csv').name))}",
        ) from error
