"""The table of a run with results, as tasks write them, at fixed times and on fixed hosts."""

from __future__ import annotations

from pathlib import Path

from orchestrator import Domain, ExperimentData
from orchestrator.data.results import Evaluation, ResultWriter, inputs_digest
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.handoff.manifest import Entry
from orchestrator.machine.kinds import StepKind
from orchestrator.worker.running import Running

__all__ = ["Results", "exception", "write_job"]

TRACEBACK = """\
Traceback (most recent call last):
  File "/home/me/study.py", line {line}, in solve
    {code}
{error}
"""


def exception(kind, message, line, code):
    """Return the error of a result line."""
    traceback = TRACEBACK.format(line=line, code=code, error=f"{kind}: {message}")
    return {"type": kind, "message": message, "traceback": traceback, "place": f"/home/me/study.py:{line}"}


def write_job(folder: Path, token: str) -> None:
    """Write the job file of a batch of the step `evaluate`."""
    more = {"label": "evaluate", "name": "evaluate"}
    batch = (token, "batch", 1, 0, "", StepKind.BATCH, True, "1", None, ".", "0" * 64)
    write_jobfile(folder / "job.json", JobFile("r", "/", "m", *batch, **more))


class Results:
    """The table of the run `r`: x = 0, 0.125, ..., every tenth from the third of wood, and an output y."""

    def __init__(self, workspace: Path, n: int, *, key: str = "r", outputs=("y",)) -> None:
        domain = Domain()
        domain.add_float("x", low=0.0, high=100.0)
        domain.add_category("material", ["steel", "wood"])
        for name in outputs:
            domain.add_output(name)
        self.project = workspace / key
        self.inputs = [{"x": float(i) / 8, "material": "wood" if i % 10 == 3 else "steel"} for i in range(n)]
        ExperimentData(domain, self.inputs, project_dir=self.project).store()

    def add(
        self,
        row,
        error=None,
        *,
        y=1.0,
        host="node07",
        token="tok",
        task=0,
        step="evaluate",
        iteration="",
        attempt=1,
        **more,
    ):
        """Append the result of an experiment to the file of its task."""
        path = self.project / "experiment_data/.results" / token / f"{task}.0.jsonl"
        line = {
            "row": row,
            "inputs": inputs_digest(self.inputs[row]),
            "status": "FINISHED" if error is None else "ERROR",
            "outputs": {"y": y} if error is None else {},
            "error": error,
            "started": 1795500000.0 + row,
            "seconds": 0.25,
            "cpu": 0.125,
            "memory": 218.4,
        }
        with ResultWriter(path, Evaluation(step, iteration, attempt, host)) as writer:
            writer.write({**line, **more})

    def begin(self, job_folder: Path, task: int, *, row: int) -> None:
        """Say that a task evaluates an experiment, as its process does, which then dies."""
        running = Running(job_folder / "running" / f"{task}.0")
        running.begin([Entry(row, inputs_digest(self.inputs[row]), {}, {})], 0)
        running.close()
