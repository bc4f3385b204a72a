"""Evaluate the experiments of a task, one after the other, and make the line of each in the result file."""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import os
import resource
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.addresses import format_address
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus
from orchestrator.data.results import Evaluation, ResultWriter
from orchestrator.data.scratch import Scratch
from orchestrator.data.values import check_name, from_jsonable, is_too_large, to_jsonable
from orchestrator.definition.bundle import LoadedStep
from orchestrator.definition.data_generators import (
    DataGenerator,
    evaluate,
    evaluates_one_by_one,
    executed_function,
    kwargs_of,
    needs_table,
)
from orchestrator.definition.expected_outputs import check_declared, check_outputs
from orchestrator.definition.injection import injected
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.manifest import Entry, Manifest
from orchestrator.host import rss_in_mb
from orchestrator.text import clean
from orchestrator.worker.log_lines import name_experiment
from orchestrator.worker.plain_function import PlainFunction
from orchestrator.worker.receipt_writer import describe_exception, describe_reason
from orchestrator.worker.surroundings import Surroundings, say_once
from orchestrator.workspace import RunFolder

__all__ = [
    "SHORT",
    "Line",
    "evaluated_lines",
    "name_scratch",
    "open_results",
    "read_table",
    "scratch_of",
    "units_of",
    "write_line",
]

OPEN, FINISHED, ERROR = JobStatus.OPEN, JobStatus.FINISHED.name, JobStatus.ERROR.name

SHORT = 5e-5
"""Seconds in which no process is started, and hardly any memory is used: asking the kernel for both takes as long."""

Line = dict[str, Any]
_Begun = tuple[float, float, float]


def units_of(step: LoadedStep, entries: list[Entry]) -> list[list[Entry]]:
    """Return what is evaluated at once: each experiment, or all of them by the data generator's own `call`."""
    if not entries or evaluates_one_by_one(step.block):
        return [[entry] for entry in entries]
    return [entries]


def evaluated_lines(
    folder: RunFolder,
    job: JobFile,
    step: LoadedStep,
    units: list[list[Entry]],
    position: Callable[[], int | None],
    *,
    begins: Callable[[list[Entry], int | None], None] | None = None,
    said: set[str] | None = None,
    ends: tuple[type[BaseException], ...] = (KeyboardInterrupt,),
) -> Iterator[list[Line]]:
    """Evaluate units one after the other, and yield the lines of each; each begins in the same surroundings.

    Parameters
    ----------
    folder, job, step
        As in `run_task`.
    units : list of list of Entry
        What is evaluated at once, from `units_of`.
    position : callable
        Returns the size of the log, from `log_position`.
    begins : callable, optional
        Called with a unit before it is evaluated, and where its output begins in the log.
    said : set of str, optional
        What was said in the log before; see `Surroundings`.
    ends : tuple of exception classes, default (KeyboardInterrupt,)
        Which exceptions of the user's code are raised. All others are recorded as the failure of an experiment. A
        parallel task raises none: `orchestrator.worker.evaluator`.

    Yields
    ------
    list of dict
        The lines of one unit.
    """
    if not units:
        return
    said = set() if said is None else said
    surroundings = Surroundings(said)
    expected = Manifest.open(folder.manifest(job.position, job.epoch, job.mark), job.manifest).expected_outputs()
    evaluator = _UnitEvaluator(folder, job, step, units, expected, ends)
    must_have = dict.fromkeys(expected or ()).keys()  # in this order; if there are none, any output
    log_end = position()
    for unit in units:
        log_begin = log_end
        if begins is not None:
            begins(unit, log_begin)
        name_experiment(unit[0].row if len(unit) == 1 else None)
        try:
            lines, scratch = evaluator.lines_of(unit)
            for line in lines:
                if not (line["outputs"] and line["outputs"].keys() >= must_have) and line["status"] == FINISHED:
                    _say_missing(said, line, must_have)
            surroundings.put_back("experiment", unit[0].row)
            log_end = position()
        finally:
            name_experiment(None)
        if log_begin is not None and log_end is not None and log_end > log_begin:
            for line in lines:
                line["log"] = [log_begin, log_end]
        try:
            yield lines
        finally:
            # After the result was written: it must not be lost while a large folder is removed.
            if scratch is not None:
                scratch.end(has_failed=lines[0]["status"] == ERROR)


def scratch_of(folder: RunFolder, job: JobFile, step: LoadedStep, entry: Entry) -> Scratch:
    """Return the scratch folder of an experiment, which was not created."""
    address = format_address(job.label, job.iteration)
    return Scratch(folder.table(job.project_dir), str(entry.row), address, step.keep_scratch)


def name_scratch(error: dict[str, str], scratch: Scratch) -> None:
    """Say below the traceback of a failed experiment where its files are, if they are kept."""
    if scratch.path_if_failed is not None:
        error["traceback"] += f"Scratch folder: {clean(str(scratch.path_if_failed))}\n"


class _Outcome(NamedTuple):
    """What a data generator has said about an experiment: its status, its outputs as JSON, and why it has failed."""

    status: str
    outputs: dict[str, Any]
    reason: str | None


class _UnitEvaluator:
    """Evaluates the units of a task.

    What is the same for all of them is found only once: there may be many, and each may take less than its bookkeeping.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: JobFile,
        step: LoadedStep,
        units: list[list[Entry]],
        expected: Sequence[str] | None,
        ends: tuple[type[BaseException], ...],
    ) -> None:
        self._generator, self._expected, self._ends = step.block, expected, ends
        self._project_dir = folder.table(job.project_dir)
        self._address, self._keep_scratch = format_address(job.label, job.iteration), step.keep_scratch
        supplied = {*step.kwargs, *units[0][0].inputs}
        kwargs = {**injected(executed_function(step.block), supplied, job.injectable), **step.kwargs}
        self._all_kwargs, self._passes_id = kwargs, bool(kwargs.get("pass_id"))
        self._kwargs = kwargs_of(kwargs, units[0][0].row)
        self._is_one_by_one = evaluates_one_by_one(step.block)
        self._function = None if self._passes_id else PlainFunction.of(step.block, self._kwargs, expected)
        self._data, self._memory = None, 0.0
        if needs_table(step.block):
            self._data = read_table(self._project_dir)
            step.block.arm(self._data)

    def lines_of(self, unit: list[Entry]) -> tuple[list[Line], Scratch | None]:
        """Evaluate a unit; return its lines, and the scratch folder of a single experiment."""
        if self._is_one_by_one:
            line, scratch = self._line_of(unit[0])
            return [line], scratch
        call = (self._generator, self._data, unit, self._all_kwargs, self._expected, self._ends)
        return list(_evaluated_by_call(*call)), None

    def _line_of(self, entry: Entry) -> tuple[Line, Scratch | None]:
        begun, function = _begun(), self._function
        if function is None or not function.takes(entry):
            return self._line_of_sample(entry, begun)
        try:
            returned = function.returned(entry.inputs)
            outputs = function.outputs(returned)
        except self._ends:
            raise
        except BaseException as raised:
            line = _measured(entry, ERROR, {}, describe_exception(raised), begun, self._memory)
        else:
            if outputs is None:
                return self._line_of_sample(entry, begun, partial(_store_returned, function, returned))
            line = _measured(entry, FINISHED, outputs, None, begun, self._memory)
        self._memory = line["memory"]
        return line, None

    def _line_of_sample(
        self, entry: Entry, begun: _Begun, execute: Callable[..., ExperimentSample] | None = None
    ) -> tuple[Line, Scratch]:
        """Evaluate an experiment as an `ExperimentSample`, by its data generator or by `execute`, if given."""
        scratch = Scratch(self._project_dir, str(entry.row), self._address, self._keep_scratch)
        sample, error = None, None
        try:
            sample = self._sample(entry, scratch)
            kwargs = kwargs_of(self._all_kwargs, entry.row) if self._passes_id else self._kwargs
            outcome = _outcome(evaluate(self._generator, sample, kwargs, self._expected, execute))
        except self._ends:
            raise
        except BaseException as raised:
            stored = {} if sample is None else _stored_before(sample, self._expected)
            outcome, error = _Outcome(ERROR, stored, None), describe_exception(raised)
        line = _line(entry, outcome, error, begun, self._memory, scratch)
        self._memory = line["memory"]
        return line, scratch

    def _sample(self, entry: Entry, scratch: Scratch) -> ExperimentSample:
        inputs = {name: from_jsonable(value) for name, value in entry.inputs.items()}
        outputs = {name: from_jsonable(value) for name, value in entry.outputs.items()}
        sample = ExperimentSample(inputs, outputs, OPEN, self._project_dir, id=entry.row)
        sample._scratch = scratch
        return sample


def _store_returned(
    function: PlainFunction, returned: Any, experiment_sample: ExperimentSample, **kwargs: Any
) -> ExperimentSample:
    """Store what a function has returned, in place of `execute`, which would call it again."""
    return function.generator.store_returned(experiment_sample, returned)


def _outcome(sample: ExperimentSample) -> _Outcome:
    for name, value in list(sample._output_data.items()):
        check_name(name, "output")
        if is_too_large(value):
            sample.store(name, value, to_disk=True)
    outputs = {name: to_jsonable(value) for name, value in sample._output_data.items()}
    return _Outcome(sample.job_status._name_, outputs, sample.reason)


def _stored_before(sample: ExperimentSample, expected: Sequence[str] | None) -> dict[str, Any]:
    """Return the outputs that an experiment stored before it failed, without those that a table can't have."""
    outputs = {}
    for name, value in sample._output_data.items():
        with suppress(Exception):
            check_name(name, "output")
            check_declared("", [name], expected)
            outputs[name] = to_jsonable(value)
    return outputs


def _say_missing(said: set[str], line: Line, must_have: Collection[str]) -> None:
    missing = [name for name in must_have if name not in line["outputs"]]
    names = f"a value of {', '.join(map(repr, missing))}" if missing else "any output"
    say_once(said, "missing outputs", f"experiment {line['row']} has finished without {names}.")


def open_results(path: Path, job: JobFile) -> ResultWriter:
    """Return a writer of the result file of a task of a job."""
    return ResultWriter(path, Evaluation(job.name, job.iteration, job.attempt, os.uname().nodename))


def write_line(writer: ResultWriter, line: Line) -> Line:
    """Write the line of an experiment, or its failure if the result is too large; return what was written."""
    try:
        writer.write(line)
    except ValueError as error:
        line = {**line, "status": "ERROR", "outputs": {}, "error": describe_exception(error)}
        writer.write(line)
    return line


def _begun() -> _Begun:
    """Return when an experiment begins: in epoch seconds, on the clock, and on that of the processor."""
    return time.time(), time.perf_counter(), time.process_time()


def _line(
    entry: Entry,
    outcome: _Outcome,
    error: dict[str, str] | None,
    begun: _Begun,
    memory: float = 0.0,
    scratch: Scratch | None = None,
) -> Line:
    """Return the line of an experiment that has ended.

    Parameters
    ----------
    entry : Entry
        The experiment.
    outcome : _Outcome
        What the data generator has said about it.
    error : dict of str to str or None
        Describes what it has raised.
    begun : tuple of float
        When it began.
    memory : float, default 0
        The peak memory before, which is that of now if it was short.
    scratch : Scratch, optional
        Its scratch folder.
    """
    status, outputs, reason = outcome
    line = _measured(entry, status, outputs, error, begun, memory)
    if status == ERROR and error is None:
        error = describe_reason(reason or "the data generator marked the experiment as failed")
    if error is not None and scratch is not None:
        name_scratch(error, scratch)
    line["error"] = error
    return line


def _measured(
    entry: Entry,
    status: str,
    outputs: dict[str, Any],
    error: dict[str, str] | None,
    begun: _Begun,
    memory: float,
) -> Line:
    """Return the line of an experiment that ends now; the parameters are those of `_line`."""
    started, clock, cpu = begun
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    return {
        "row": entry.row,
        "inputs": entry.digest,
        "status": status,
        "outputs": outputs,
        "error": error,
        "started": started,
        "seconds": round(seconds, 6),
        "cpu": round(cpu_seconds, 6),
        "memory": memory if memory and seconds < SHORT else _peak_memory(),
    }


def _peak_memory() -> float:
    """Return the peak memory in MB of this process so far, or of a program that it has started, if that is larger."""
    own, programs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return rss_in_mb(max(own.ru_maxrss, programs.ru_maxrss))


def _evaluated_by_call(
    generator: DataGenerator,
    data: Any,
    entries: list[Entry],
    kwargs: Mapping[str, Any],
    expected: Sequence[str] | None,
    ends: tuple[type[BaseException], ...],
) -> Iterator[Line]:
    """Evaluate all experiments by the data generator's own `call`, and yield a line for each."""
    rows: dict[int, ExperimentSample] = {}
    raised: BaseException | None = None
    try:
        rows = dict(iter(generator.call(data=data.select([entry.row for entry in entries]), **kwargs)))
    except ends:
        raise
    except BaseException as error:
        raised = error
    who = f"{type(generator).__name__}.call"
    for entry in entries:
        begun, described = _begun(), None
        try:
            outcome = _result_of_call(who, rows.get(entry.row), raised, expected)
        except ends:
            raise
        except BaseException as failure:
            outcome, described = _Outcome(ERROR, {}, None), describe_exception(failure)
        yield _line(entry, outcome, described, begun)


def _result_of_call(
    who: str, sample: ExperimentSample | None, raised: BaseException | None, expected: Sequence[str] | None
) -> _Outcome:
    if raised is not None:
        raise raised
    if sample is None or sample.job_status in (JobStatus.OPEN, JobStatus.IN_PROGRESS):
        raise ValueError("the data generator's call left this experiment open")
    if sample.is_status("finished"):
        check_outputs(who, sample, {}, expected)
    return _outcome(sample)


def read_table(project_dir: Path) -> Any:
    """Return the table of a folder.

    Raises
    ------
    DataError
        If there is none.
    """
    from orchestrator.data.experiment_data import ExperimentData

    try:
        return ExperimentData.from_file(project_dir)
    except FileNotFoundError:
        from orchestrator.worker.table_work import no_table

        raise no_table(project_dir) from None
