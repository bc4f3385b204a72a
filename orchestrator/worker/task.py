"""One task while it is supervised: which of its experiments are left, and what becomes of one whose process died.

An experiment that was cut, because its process died, is retried as the last one of its task: one that crashes or
hangs blocks none of the others. After its tries it has failed. Whether it crashed or had no memory is decided in
`orchestrator.worker.processes` (`how_it_died`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.data.many_objects import many_objects
from orchestrator.data.results import ResultFile, expect_many_lines
from orchestrator.definition.bundle import LoadedStep
from orchestrator.handoff.counts import Counts
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.manifest import Entry
from orchestrator.handoff.receipt import Receipt
from orchestrator.worker.execute import end_task, left_of_task, stop_task
from orchestrator.worker.experiments import name_scratch, open_results, scratch_of, units_of
from orchestrator.worker.guarded import FirstWorker
from orchestrator.worker.processes import how_it_died, why_full
from orchestrator.worker.receipt_writer import begin_receipt
from orchestrator.worker.running import Cut, Key, Running, alone_since, read_cuts
from orchestrator.workspace import RunFolder

__all__ = ["SupervisedTask", "key_of"]

Unit = list[Entry]

MANY = 5000
"""Number of experiments from which the import of the fast encoder of results saves time."""


class SupervisedTask:
    """A task of a batch, of which one process after the other evaluates what is left.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    job : JobFile
        The job that the task belongs to.
    number : int
        Number of the task in the manifest.
    step : LoadedStep
        The step's code.
    restart : int, default 0
        How often the scheduler has restarted this task under the same id.
    log : Path, optional
        The log of the task; by default the output goes where that of this process goes.
    dead_worker : FirstWorker, optional
        The worker that has died in this job.

    Attributes
    ----------
    left : list of list of Entry
        What is left, in order. The experiments of a list are evaluated at once.
    running : Running
        What the evaluating process says about the experiment that it evaluates.
    n_done : int
        Number of experiments that have a result.
    said : set of str
        What was said in the log, so that it is said only once.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: JobFile,
        number: int,
        step: LoadedStep,
        *,
        restart: int = 0,
        log: Path | None = None,
        dead_worker: FirstWorker | None = None,
    ) -> None:
        self.folder, self.job, self.number, self.step, self.log = folder, job, number, step, log
        self.said: set[str] = set()
        self._restart = restart
        self._receipt = begin_receipt()
        self._usage = (0.0, 0.0)
        self._seconds = 0.0
        with many_objects():
            left, self._counts = left_of_task(folder, job, number)
            self.left: list[Unit] = units_of(step, left)
        if len(left) >= MANY:
            expect_many_lines()
        self._receipt.n_earlier = self._counts.n
        self._cuts: defaultdict[Key, list[Cut]] = defaultdict(list)
        path = folder.job(job.token).running(number, restart)
        here: list[Cut] = []
        if dead_worker is not None and not dead_worker.was_stopped:
            here = read_cuts(path, *how_it_died(dead_worker.exit_code, alone_since(path)))
        self.running = Running(path)
        for cut in self._earlier_cuts(left):
            self._cuts[cut.key].append(cut)
        for cut in here:
            self._add_cut(cut)
        self._tell_counts()
        self._try_cut_ones_last()

    @property
    def is_alone(self) -> bool:
        """Whether one experiment is left, which this process can evaluate itself: nothing ends it, and none follows."""
        return len(self.left) == 1 and len(self.left[0]) == 1 and self.job.timeout is None and not self._cuts

    @property
    def results(self) -> Path:
        """The result file."""
        return self.folder.result_file(self.job.project_dir, self.job.token, self.number, self._restart)

    @property
    def n_done(self) -> int:
        """Number of experiments that have a result."""
        return self._counts.n

    def add_usage(self, cpu_seconds: float, max_rss_mb: float) -> None:
        """Add what a process has used."""
        self._usage = (self._usage[0] + cpu_seconds, max(self._usage[1], max_rss_mb))

    def add_done(self, n_units: int, n_finished: int, failures: list[dict[str, Any]]) -> None:
        """Record what a process has evaluated that ended in order.

        Parameters
        ----------
        n_units : int
            Number of items of `left`, from the first.
        n_finished, failures
            Its experiments, as `ReceiptCounts` has them.
        """
        self._counts.add_counts(n_finished, failures)
        self._tell_counts()
        self.left = self.left[n_units:]

    def recover(self, offset: int) -> Unit | None:
        """Record what a process has evaluated that died.

        Parameters
        ----------
        offset : int
            Where the process began to write in the result file.

        Returns
        -------
        list of Entry or None
            What it was evaluating; None if nothing.
        """
        done: set[Key] = set()
        if self.results.exists():
            for line in ResultFile.read(self.results, offset).lines:
                self._counts.add(line)
                done.add((line["row"], line["inputs"]))
        self._tell_counts()
        units = [[entry for entry in unit if key_of(entry) not in done] for unit in self.left]
        self.left = [unit for unit in units if unit]
        running = self.running.now()
        if running is None:
            return None
        return next((unit for unit in self.left if any(key_of(entry) == running[0] for entry in unit)), None)

    def cut(self, unit: Unit, kind: str, why: str) -> None:
        """Record that the process died that evaluated a unit. It is retried as the last one, or has failed.

        Parameters
        ----------
        unit : list of Entry
            An item of `left`.
        kind, why : str
            What became of the process.
        """
        now = self.running.now()
        self._seconds = 0.0 if now is None else time.monotonic() - now[1]
        self._add_cut(Cut(key_of(unit[0]), kind, why, self.running.log_begin))
        self._try_cut_ones_last()

    def fail(self, unit: Unit, kind: str, message: str, seconds: float = 0.0) -> None:
        """Write a failure as the result of a unit.

        Parameters
        ----------
        unit : list of Entry
            An item of `left`.
        kind, message : str
            Type and message of the error.
        seconds : float, default 0
            How long it was evaluated.
        """
        error = {"type": kind, "message": message, "traceback": ""}
        begins = [self.running.log_begin, *(cut.log_begin for cut in reversed(self._cuts_of(unit)))]
        log_begin = next((begin for begin in begins if begin is not None), None)
        with open_results(self.results, self.job) as writer:
            for entry in unit:
                scratch = scratch_of(self.folder, self.job, self.step, entry)
                scratch.find()
                line = _failed_line(entry, error, seconds, self._usage[1], log_begin)
                name_scratch(line["error"], scratch)
                writer.write(line)
                scratch.end(has_failed=True)
                self._counts.add(line)
        self._tell_counts()
        self.left.remove(unit)
        self.running.clear()

    def complete(self) -> Receipt:
        """Write the receipt: every experiment has a result."""
        job, number, restart = self.job, self.number, self._restart
        receipt = end_task(self.folder, job, number, restart, self._receipt, self._counts, self._usage)
        self.running.remove()
        return receipt

    @property
    def counts(self) -> Counts:
        """The numbers of its experiments that have a result: what decides whether the batch stops."""
        return self._counts.short

    def stop(self) -> None:
        """Write the receipt of a task that ends before all its experiments have a result."""
        job, number, restart = self.job, self.number, self._restart
        stop_task(self.folder, job, number, restart, self._receipt, self._counts, self._usage)
        self.running.stop()

    def why_full(self, error: OSError) -> str:
        """Return that the disk is full, after which no experiment is to blame; raise any other error."""
        reason = why_full(error, self.results.parent)
        self.running.clear()
        return reason

    def _tell_counts(self) -> None:
        self.running.count(self._counts.n_finished, self._counts.n_failed)

    def _try_cut_ones_last(self) -> None:
        """Put those that ended their process behind the others; fail those tried `PlannedStep.max_tries` times."""
        if not self._cuts:
            return
        for unit in list(self.left):
            blamed = [cut for cut in self._cuts_of(unit) if cut.kind]
            if len(blamed) >= self.job.max_tries:
                self.fail(unit, blamed[-1].kind, f"{blamed[-1].why}, {len(blamed)} times", self._seconds)
        self.left.sort(key=lambda unit: len(self._cuts_of(unit)))

    def _cuts_of(self, unit: Unit) -> Sequence[Cut]:
        return [cut for entry in unit for cut in self._cuts.get(key_of(entry), ())]

    def _add_cut(self, cut: Cut) -> None:
        self._cuts[cut.key].append(cut)
        self.running.add_cut(cut)

    def _earlier_cuts(self, left: list[Entry]) -> list[Cut]:
        cuts = [Cut(key_of(entry), kind, _WHY.get(kind, "its process died")) for entry in left for kind in entry.cuts]
        for token in [*self.job.earlier_tokens, self.job.token]:
            kind = self.job.earlier_kinds.get(token, "")
            for path in self.folder.job(token).running_of(self.number):
                # Where their output begins in another log does not count here.
                cuts += [cut._replace(log_begin=None) for cut in read_cuts(path, kind, _WHY.get(kind, ""))]
        return cuts


_WHY: Mapping[str, str] = {
    "timeout": "its job reached its time limit",
    "out_of_memory": "its job ran out of memory",
    "infrastructure": "its job ended without a receipt",
}


def key_of(entry: Entry) -> Key:
    """Return the row and digest of an experiment."""
    return entry.row, entry.digest


def _failed_line(
    entry: Entry, error: Mapping[str, str], seconds: float, memory: float, log_begin: int | None
) -> dict[str, Any]:
    return {
        "row": entry.row,
        "inputs": entry.digest,
        "status": "ERROR",
        "outputs": {},
        "error": dict(error),
        "started": time.time() - seconds,
        "seconds": round(seconds, 6),
        "cpu": 0.0,
        "memory": memory,
        "log": None if log_begin is None else [log_begin, None],
    }
