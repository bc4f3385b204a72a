"""Run the user's code: one task of a batch, one call of a block, or the `until` of a loop.

Each of these writes a receipt at its end. An exception in the user's code is recorded: for an experiment as its result,
otherwise in the receipt of the step. If a function of this module raises, the infrastructure has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from orchestrator.data.of_f3dasm import is_of_f3dasm, our_table
from orchestrator.data.results import read_results
from orchestrator.definition.block import Block, called_function
from orchestrator.definition.bundle import LoadedStep
from orchestrator.definition.injection import injected
from orchestrator.handoff.counts import write_counts
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.manifest import Entry, Manifest
from orchestrator.handoff.receipt import Receipt
from orchestrator.worker.capture import log_position
from orchestrator.worker.experiments import Line, evaluated_lines, open_results, read_table, units_of, write_line
from orchestrator.worker.log_lines import log_lines
from orchestrator.worker.receipt_counts import ReceiptCounts
from orchestrator.worker.receipt_writer import begin_receipt, describe_exception, end_receipt
from orchestrator.worker.running import Running
from orchestrator.worker.stopping import must_stop
from orchestrator.workspace import RunFolder

__all__ = ["end_task", "left_of_task", "run_call", "run_task", "run_until", "stop_task"]

# sys.exit() in the user's code ends the experiment or the step, not the process.
USER_ERRORS = (Exception, SystemExit)


def run_task(
    folder: RunFolder,
    job: JobFile,
    task: int,
    step: LoadedStep,
    *,
    restart: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Receipt:
    """Evaluate the experiments of one task in this process, except those that an earlier attempt has evaluated.

    `orchestrator.worker.supervisor` does that in a process of its own, which may hang or crash.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    job : JobFile
        The job that the task belongs to.
    task : int
        Number of the task in the manifest.
    step : LoadedStep
        The step's code.
    restart : int, default 0
        How often the scheduler has restarted this task under the same id.
    progress : callable, optional
        Called with the number of experiments that have a result since the last call.

    Returns
    -------
    Receipt
        As written to the file.
    """
    receipt = begin_receipt()
    left, counts = left_of_task(folder, job, task)
    receipt.n_earlier, n_all = counts.n, counts.n + len(left)
    if progress is not None:
        progress(counts.n)
    results = folder.result_file(job.project_dir, job.token, task, restart)
    running = Running(folder.job(job.token).running(task, restart))
    running.count(counts.n_finished, counts.n_failed)
    with open_results(results, job) as writer, log_lines(job.log_level), log_position() as position, closing(running):
        for lines in evaluated_lines(folder, job, step, units_of(step, left), position, begins=running.begin):
            for line in lines:
                counts.add(write_line(writer, line))
            running.count(counts.n_finished, counts.n_failed)
            if progress is not None:
                progress(len(lines))
            if must_stop(job, counts.short):
                break
    end = end_task if counts.n >= n_all else stop_task
    receipt = end(folder, job, task, restart, receipt, counts)
    running.remove()
    return receipt


def left_of_task(folder: RunFolder, job: JobFile, task: int) -> tuple[list[Entry], ReceiptCounts]:
    """Return the experiments of a task that have no result, and the counts of those that earlier attempts evaluated."""
    entries = Manifest.open(folder.manifest(job.position, job.epoch, job.mark), job.manifest).task(task)
    earlier = _earlier_results(folder, job, task)
    counts = ReceiptCounts()
    if not earlier:
        return entries, counts
    for entry in entries:
        line = earlier.get((entry.row, entry.digest))
        if line is not None:
            counts.add(line)
    return [entry for entry in entries if (entry.row, entry.digest) not in earlier], counts


def end_task(
    folder: RunFolder,
    job: JobFile,
    task: int,
    restart: int,
    receipt: Receipt,
    counts: ReceiptCounts,
    usage: tuple[float, float] | None = None,
) -> Receipt:
    """Write the receipt of a task whose experiments all have a result.

    Parameters
    ----------
    folder, job, task, restart
        As in `run_task`.
    receipt : Receipt
        The receipt that was begun.
    counts : ReceiptCounts
        Its experiments.
    usage : tuple of float, optional
        CPU time and peak memory of the processes that evaluated; by default those of this process.

    Returns
    -------
    Receipt
        As written to the file.
    """
    receipt.n_experiments, receipt.n_finished, receipt.n_failed = counts.n, counts.n_finished, counts.n_failed
    receipt.failures = counts.failures
    if counts.n_failed or not receipt.succeeded:
        write_counts(folder.job(job.token), task, restart, counts.short)
    return end_receipt(folder, job, task, restart, receipt, usage)


def stop_task(
    folder: RunFolder,
    job: JobFile,
    task: int,
    restart: int,
    receipt: Receipt,
    counts: ReceiptCounts,
    usage: tuple[float, float] | None = None,
) -> Receipt:
    """Write the receipt of a task that ends before all its experiments have a result, because its step stops.

    The parameters are those of `end_task`.
    """
    receipt.state, receipt.kind = "failed", "stopped"
    receipt.error = {
        "type": "stopped",
        "message": "its step stopped early because of failed experiments",
        "traceback": "",
    }
    return end_task(folder, job, task, restart, receipt, counts, usage)


def run_call(
    folder: RunFolder,
    job: JobFile,
    block: Any,
    kwargs: Mapping[str, Any],
    until: Callable[..., Any] | None = None,
) -> Receipt:
    """Call a block with the whole table, or a function with the folder; then call the `until`, if given.

    Results are folded first, so that the user's code gets the complete table.

    Returns
    -------
    Receipt
        As written to the file.
    """

    def work(receipt: Receipt) -> None:
        project_dir = _fold_results(folder, job, receipt)
        from orchestrator.worker.keep_tables import keep  # a task of an array keeps none

        keep(folder, job.project_dir, job.position, job.epoch, job.mark, job.max_tables)
        if isinstance(block, Block):
            _call_block(project_dir, job, block, kwargs)
        else:
            block(project_dir=project_dir, **injected(block, kwargs, job.injectable), **kwargs)
        if until is not None:
            # If `until` raises here, it is called again in its own step run, which then fails.
            with suppress(*USER_ERRORS):
                receipt.until = _call_until(project_dir, until)

    return _with_receipt(folder, job, work)


def run_until(folder: RunFolder, job: JobFile, until: Callable[..., Any]) -> Receipt:
    """Call the `until` of a loop.

    Returns
    -------
    Receipt
        As written to the file.
    """

    def work(receipt: Receipt) -> None:
        receipt.until = _call_until(_fold_results(folder, job, receipt), until)

    return _with_receipt(folder, job, work)


# --- blocks and until ----------------------------------------------------------------------------


def _fold_results(folder: RunFolder, job: JobFile, receipt: Receipt) -> Path:
    from orchestrator.data.fold import fold
    from orchestrator.worker.table_work import expected_of

    project_dir = folder.table(job.project_dir)
    project_dir.mkdir(parents=True, exist_ok=True)
    try:
        receipt.n_quarantined = len(fold(project_dir, expected=expected_of(job.expected_results)).quarantined)
    except FileNotFoundError:
        from orchestrator.worker.table_work import results_without_table

        raise results_without_table(project_dir, job.run_key) from None
    return project_dir


def _call_block(project_dir: Path, job: JobFile, block: Block, kwargs: Mapping[str, Any]) -> None:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.open_table import stored_by
    from orchestrator.data.storing import store_result

    data = read_table(project_dir)
    # If a process died after it stored the table and before it wrote its receipt, the block is not called again.
    if stored_by(project_dir) not in (*job.earlier_tokens, job.token):
        from orchestrator.definition.samplers import seed_optimizers, seed_samplers

        if job.seeds_samplers:
            seed_samplers(block, job.seed)
        seed_optimizers(block, job.seed)
        block.arm(data)
        result = block.call(data=data, **injected(called_function(block), kwargs, job.injectable), **kwargs)
        if is_of_f3dasm(result, "ExperimentData"):
            result = our_table(result, data)
        if not isinstance(result, ExperimentData):
            raise TypeError(f"{type(block).__name__}.call returns the ExperimentData, not {type(result).__name__}")
        store_result(result, data, project_dir, job.token)
    block.after_store(project_dir)


def _call_until(project_dir: Path, until: Callable[..., Any]) -> bool:
    answer = until(read_table(project_dir))
    if answer is None:
        name = getattr(until, "__name__", type(until).__name__)
        raise TypeError(f"until={name} returns None. Let it return True or False; maybe a return is missing")
    return bool(answer)


def _with_receipt(folder: RunFolder, job: JobFile, work: Callable[[Receipt], None]) -> Receipt:
    receipt = begin_receipt()
    try:
        with log_lines(job.log_level):
            work(receipt)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        receipt.state, receipt.kind = "failed", "exception"
        receipt.error, receipt.exception = describe_exception(error), error
    return end_receipt(folder, job, 0, 0, receipt)


def _earlier_results(folder: RunFolder, job: JobFile, task: int) -> dict[tuple[int, str], Line]:
    """Return the results that earlier attempts at this task, and earlier starts of this attempt, have written."""
    earlier: dict[tuple[int, str], Line] = {}
    for token in [*job.earlier_tokens, job.token]:
        for path in folder.results_of(job.project_dir, token, task):
            earlier |= {(line["row"], line["inputs"]): line for line in read_results(path)}
    return earlier
