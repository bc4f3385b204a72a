"""What the report of a run contains, made from its records. Pure: what is read is in `Records`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.addresses import format_address
from orchestrator.cli.reports.charts import charts_of, convergence_of
from orchestrator.cli.reports.memory import memory_of
from orchestrator.cli.reports.report_values import Best, Parameter, Question, Report, Results
from orchestrator.cli.reports.timeline import task_maps_of, timeline_of
from orchestrator.cli.table_rows import Rows, best_first, objective_of, rows_of, where
from orchestrator.cli.table_text import cell_text
from orchestrator.errors import NotFound
from orchestrator.redact import redacted

if TYPE_CHECKING:
    from orchestrator.cli.failure_causes import FailureList
    from orchestrator.cli.reports.usage import Efficiency, TaskUsage
    from orchestrator.cli.run_table import RunTable
    from orchestrator.data.domain import Domain
    from orchestrator.db.views import RunStatus

__all__ = ["Records", "report_of"]

ALL = Results()

MOST_VALUES = 12
"""Values of an input that are listed."""


class Records(NamedTuple):
    """What is known of a run.

    Attributes
    ----------
    status : RunStatus
        The run, with all its step runs.
    tables : list of RunTable
        Its tables.
    tasks : list of TaskUsage
        Its tasks that have ended.
    failures : FailureList
        What failed.
    efficiency : Efficiency
        Requested and used resources.
    seed : int or None
        The pipeline's seed; None: seeds depend on the run's key.
    code : str or None
        Digest of the code that the run keeps; None: it keeps none.
    """

    status: RunStatus
    tables: list[RunTable]
    tasks: list[TaskUsage]
    failures: FailureList
    efficiency: Efficiency
    seed: int | None
    code: str | None


def report_of(records: Records, now: float, results: Results = ALL, *, table: RunTable | None = None) -> Report:
    """Return the report of a run.

    Parameters
    ----------
    records : Records
        What is known of it.
    now : float
        Epoch seconds.
    results : Results, optional
        Which experiments are compared, and how; by default all, by the smallest value of the first number.
    table : RunTable, optional
        The table whose experiments are shown; by default the largest one.

    Raises
    ------
    NotFound, DataError
        If the table has no such output, it does not contain numbers, or the condition can't be used.
    """
    status, key = records.status, records.status.run.key
    if table is None and records.tables:
        table = max(records.tables, key=lambda found: len(found.data))
    rows = None if table is None else rows_of(table, key)
    objective = results.output or (None if rows is None else _first_number(rows))
    largest = results.largest
    found = None if rows is None or objective is None else best_first(rows, objective, largest=largest)
    if found is not None and results.where is not None:
        found = where(found, results.where)
    best = None if found is None or objective is None else _finite(found, objective)
    convergence, charts = None, None
    if best is not None and objective is not None:
        convergence = convergence_of(best, objective, largest=largest)
        charts = charts_of(best, objective, convergence)
    statuses = [status_of.name for one in records.tables for status_of in one.data.statuses()]
    return Report(
        run=status.run,
        made_at=now,
        n_experiments=len(statuses),
        n_finished=statuses.count("FINISHED"),
        n_failed=statuses.count("ERROR"),
        question=_question(status, table),
        objective=objective,
        where=results.where,
        largest=largest,
        best=None if best is None or objective is None else _best(best, objective),
        convergence=convergence,
        charts=charts,
        timeline=timeline_of(status.run, status.step_runs, now),
        task_maps=task_maps_of(records.tasks, status.step_runs),
        memory=memory_of(record for one in records.tables for record in one.records),
        failures=records.failures,
        efficiency=records.efficiency,
        provenance=_provenance(status, records),
    )


def _finite(rows: Rows, name: str) -> Rows | None:
    """Return the rows whose value is not infinite; None if there is none."""
    frame = rows.frame[rows.frame[name].abs() < math.inf]
    return rows.with_frame(frame) if len(frame) else None


def _first_number(rows: Rows) -> str | None:
    try:
        return objective_of(rows, "")
    except NotFound:
        return next((name for name in rows.outputs if _is_number(rows, name)), None)


def _is_number(rows: Rows, name: str) -> bool:
    kind = rows.frame[name]
    return kind.dtype.kind in "iuf" and bool(kind.notna().any())


def _question(status: RunStatus, table: RunTable | None) -> Question:
    steps = [(step.name, step.depth, step.n_planned) for step in status.steps]
    if table is None:
        return Question((), (), steps)
    domain: Domain = table.data.domain
    return Question(_parameters(domain.input_space), _parameters(domain.output_space), steps)


def _parameters(space: Mapping[str, Any]) -> list[Parameter]:
    return [_parameter(str(name), parameter) for name, parameter in space.items()]


def _parameter(name: str, parameter: Any) -> Parameter:
    kind = getattr(parameter, "type_name", "")
    if kind in ("float", "int"):
        low, high = parameter.lower_bound, parameter.upper_bound
        bounds = [] if math.isinf(low) and math.isinf(high) else [f"{low:g} to {high:g}"]
        scale = ["logarithmic scale"] if getattr(parameter, "log", False) else []
        return Parameter(name, "number" if kind == "float" else "whole number", ", ".join([*bounds, *scale]))
    if kind == "category":
        values = list(map(cell_text, parameter.categories))
        more = [f"and {len(values) - MOST_VALUES} more"] if len(values) > MOST_VALUES else []
        return Parameter(name, "one of", ", ".join([*values[:MOST_VALUES], *more]))
    if kind == "constant":
        return Parameter(name, "constant", cell_text(parameter.value))
    return Parameter(name, "" if kind in ("", "object") else kind, "")


def _best(best: Rows, objective: str) -> Best:
    label, row = best.frame.index[0], best.frame.iloc[0]
    record = best.table.records[best.table.data.labels().index(label)]
    return Best(
        experiment=int(label),
        value=float(row[objective]),
        inputs=[(name, cell_text(row[name], name)) for name in best.inputs],
        outputs=[(name, cell_text(row[name], name)) for name in best.outputs],
        address=None if record is None else format_address(record.step, record.iteration),
    )


def _provenance(status: RunStatus, records: Records) -> Sequence[tuple[str, str]]:
    run, known, seed = status.run, status.provenance, records.seed
    argv = known.get("argv")
    command = " ".join(redacted([str(word) for word in argv])) if isinstance(argv, list | tuple) else ""
    values = [
        ("run", run.key),
        ("study", run.study or ""),
        ("command", command),
        ("folder", known.get("folder")),
        ("git commit", known.get("git")),
        ("SHA-256 of its code", records.code),
        ("seed", f"{seed}" if seed is not None else f"none; the random numbers of a step depend on the key {run.key}"),
        ("user", known.get("user")),
        ("host", known.get("host")),
        ("hosts of the tasks", _hosts(records.tasks)),
        ("orchestrator", known.get("orchestrator")),
        ("Python", known.get("python")),
        ("libraries", _libraries(known.get("libraries"))),
    ]
    return [(name, str(value)) for name, value in values if value]


def _libraries(versions: object) -> str:
    """Return the libraries that the study imports: `numpy 2.1.0, scipy 1.14.1`."""
    if not isinstance(versions, Mapping):
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _hosts(tasks: Sequence[TaskUsage]) -> str:
    hosts = Counter(task.host for task in tasks)
    more = [f"and {len(hosts) - MOST_VALUES} more"] if len(hosts) > MOST_VALUES else []
    return ", ".join([*(f"{host} ({n})" for host, n in hosts.most_common(MOST_VALUES)), *more])
