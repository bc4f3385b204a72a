"""What the report of a run says, as values. `report_content` makes them, `page` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from orchestrator.cli.failure_causes import FailureList
    from orchestrator.cli.reports.usage import Efficiency
    from orchestrator.db.views import RunView

__all__ = [
    "Axis",
    "Best",
    "Charts",
    "Convergence",
    "Iteration",
    "MemoryLine",
    "Parameter",
    "Question",
    "Report",
    "Results",
    "Span",
    "TaskMap",
    "Timeline",
]


@dataclass(frozen=True)
class Results:
    """Which experiments are compared, and how.

    Attributes
    ----------
    output : str or None
        The output that is compared; None: the first one that is a number.
    where : str or None
        A condition on the experiments, as of `pandas.DataFrame.query`; None: all.
    largest : bool
        Whether the largest value is the best one.
    """

    output: str | None = None
    where: str | None = None
    largest: bool = False


@dataclass(frozen=True)
class Parameter:
    """An input or an output of the study.

    Attributes
    ----------
    name : str
        Its name.
    kind : str
        `number`, `whole number`, `one of`, `constant`, or the name of its type.
    values : str
        Its range or its values; empty if anything is allowed.
    """

    name: str
    kind: str
    values: str


@dataclass(frozen=True)
class Question:
    """What was asked.

    Attributes
    ----------
    inputs, outputs : sequence of Parameter
        The inputs and outputs of the table.
    steps : sequence of (str, int, int)
        Name, number of loops around it, and number of planned step runs of each step.
    """

    inputs: Sequence[Parameter]
    outputs: Sequence[Parameter]
    steps: Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class Best:
    """The best experiment.

    Attributes
    ----------
    experiment : int
        Its row label.
    value : float
        Its objective.
    inputs, outputs : sequence of (str, str)
        Names and values.
    address : str or None
        Address of the step run that evaluated it; None if not known.
    """

    experiment: int
    value: float
    inputs: Sequence[tuple[str, str]]
    outputs: Sequence[tuple[str, str]]
    address: str | None


@dataclass(frozen=True)
class Iteration:
    """The finished experiments of one iteration.

    Attributes
    ----------
    name : str
        The iteration; empty outside loops, or if not known.
    n : int
        Number of its finished experiments.
    best, median : float
        Of the objective.
    best_so_far : float
        Best objective of this and all earlier iterations.
    """

    name: str
    n: int
    best: float
    median: float
    best_so_far: float


@dataclass(frozen=True)
class Convergence:
    """How the best objective improved.

    Attributes
    ----------
    steps : sequence of (int, float)
        Number of the evaluation, from 1, and the best objective from there on.
    iterations : sequence of Iteration
        The iterations, in their order.
    """

    steps: Sequence[tuple[int, float]]
    iterations: Sequence[Iteration]


@dataclass(frozen=True)
class Axis:
    """A column of numbers, or of categories by their number.

    Attributes
    ----------
    name : str
        Name of the input or output.
    values : array of float32
        A value for each shown experiment; NaN if missing.
    categories : sequence of str
        Names of the values 0, 1, ...; empty for numbers.
    is_log : bool
        Whether a logarithmic scale shows more.
    """

    name: str
    values: NDArray[float32]
    categories: Sequence[str]
    is_log: bool


@dataclass(frozen=True)
class Charts:
    """The finished experiments that charts show, in the order of their evaluation.

    Attributes
    ----------
    n : int
        Number of finished experiments that have the objective.
    numbers : array of float32
        Number of the evaluation of each shown experiment, from 1.
    iterations : array of float32
        Index of its iteration in the convergence.
    objective : Axis
        Their objective.
    inputs : sequence of Axis
        Their inputs that are numbers or have few values.
    left_out : sequence of str
        Inputs that are not shown.
    """

    n: int
    numbers: NDArray[float32]
    iterations: NDArray[float32]
    objective: Axis
    inputs: Sequence[Axis]
    left_out: Sequence[str]


@dataclass(frozen=True)
class Span:
    """A time in which a step ran, or waited in the queue, or nothing happened.

    Attributes
    ----------
    row : str
        Name of the step; empty for idle time.
    kind : str
        `run`, `queue` or `idle`.
    begin, end : float
        Seconds since the begin of the run.
    label : str
        Address of the step run, or how many there were.
    has_failed : bool
        Whether it failed.
    """

    row: str
    kind: str
    begin: float
    end: float
    label: str
    has_failed: bool


@dataclass(frozen=True)
class Timeline:
    """When what ran.

    Attributes
    ----------
    rows : sequence of str
        The steps, in their order.
    spans : sequence of Span
        The times.
    seconds : mapping
        Seconds in which something ran (`run`), only waited in the queue (`queue`), or nothing happened (`idle`).
    """

    rows: Sequence[str]
    spans: Sequence[Span]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class MemoryLine:
    """How the peak memory of a task grew from one experiment to the next.

    Attributes
    ----------
    step : str
        Name of the step; of its tasks, this is the one that grew most.
    address : str
        Address of the step run.
    task : int
        Number of the task.
    n : int
        Number of its experiments.
    points : sequence of (int, float)
        Number of the experiment within the task, from 1, and the peak memory in MB until its end; of many experiments,
        only some.
    """

    step: str
    address: str
    task: int
    n: int
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class TaskMap:
    """The tasks of the arrays of a step.

    Attributes
    ----------
    step : str
        Name of the step.
    rows : sequence of str
        The iterations; or, if there is only one, the numbers of the first tasks of each row.
    n_columns : int
        Number of tasks in a row.
    cells : sequence of (int, int, float, int, float)
        Column, row, seconds, number of failed experiments (-1 if the task itself failed), and seconds in the queue (-1
        if not known).
    n_left_out : int
        Number of earlier iterations that are not shown.
    """

    step: str
    rows: Sequence[str]
    n_columns: int
    cells: Sequence[tuple[int, int, float, int, float]]
    n_left_out: int


@dataclass(frozen=True)
class Report:
    """What the report of a run says.

    Attributes
    ----------
    run : RunView
        The run.
    made_at : float
        When the report was made, in epoch seconds.
    n_experiments, n_finished, n_failed : int
        Number of experiments in its tables, and of those that finished and failed.
    question : Question
        What was asked.
    objective : str or None
        The output that is compared; None if no output is a number.
    where : str or None
        Only experiments for which this is true are compared; None: all.
    largest : bool
        Whether the largest value is the best one.
    best : Best or None
        The best experiment; None if there is none yet.
    convergence : Convergence or None
        How the best objective improved; None if no experiment has it.
    charts : Charts or None
        The experiments; None if no experiment has the objective.
    timeline : Timeline
        When what ran.
    task_maps : sequence of TaskMap
        The arrays.
    memory : sequence of MemoryLine
        How the memory of the tasks grew, of the steps whose tasks evaluated several experiments.
    failures : FailureList
        What failed.
    efficiency : Efficiency
        Requested and used resources.
    provenance : sequence of (str, str)
        Where the run comes from: names and values.
    """

    run: RunView
    made_at: float
    n_experiments: int
    n_finished: int
    n_failed: int
    question: Question
    objective: str | None
    where: str | None
    largest: bool
    best: Best | None
    convergence: Convergence | None
    charts: Charts | None
    timeline: Timeline
    task_maps: Sequence[TaskMap]
    memory: Sequence[MemoryLine]
    failures: FailureList
    efficiency: Efficiency
    provenance: Sequence[tuple[str, str]]
