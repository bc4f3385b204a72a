"""The worker process of a run on this machine: it loads the study once, and evaluates the batches of the run.

It reads a line of JSON for each batch, `{"token": ..., "sha256": digest of the job file, "tasks": [...], "n_workers":
...}`, and writes lines of JSON: `{"done": number of experiments}`, `{"failed": task, "reason":
...}`, and `{"end": true}`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.definition.bundle import Bundle, LoadedStep
from orchestrator.errors import StudyError
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.worker.capture import redirect
from orchestrator.worker.receipt_writer import fail_receipt
from orchestrator.worker.supervisor import Supervisor
from orchestrator.worker.task import SupervisedTask
from orchestrator.workspace import RunFolder

__all__ = ["serve"]


def serve(workspace: Path, key: str) -> None:
    """Evaluate batches until the input ends.

    Parameters
    ----------
    workspace : Path
        Root folder of the workspace.
    key : str
        The run's key.
    """
    requests, answers = _pipes_to_parent()
    folder = RunFolder(workspace, key)
    steps: dict[str, LoadedStep] = {}
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        job = read_jobfile(folder.job(request["token"]).file, request["sha256"])
        tasks = request["tasks"]
        error = None if job.path in steps else _load(folder, job, tasks[0], steps)
        if error is None:
            make = partial(_supervised, folder, job, steps[job.path])
            _supervise(answers, request["n_workers"], {task: partial(make, task) for task in tasks})
        else:
            for task in tasks:
                with _output_to(_log(folder, job, task)):
                    fail_receipt(folder, job, task, 0, error)
        _answer(answers, {"end": True})


def _load(folder: RunFolder, job: JobFile, task: int, steps: dict[str, LoadedStep]) -> StudyError | None:
    """Load a step, or return why the study can't be imported. Output goes to the log of a task."""
    with _output_to(_log(folder, job, task)):
        try:
            steps[job.path] = Bundle(folder.bundle(job.bundle_digest)).load_step(job.path)
        except StudyError as error:
            return error
    return None


def _supervise(answers: BinaryIO, n_workers: int, tasks: dict[int, Callable[[], SupervisedTask]]) -> None:
    supervisor = Supervisor(
        n_workers,
        on_done=lambda n: _answer(answers, {"done": n}),
        on_failed=lambda task, reason: _answer(answers, {"failed": task, "reason": reason}),
        ends_at_once=True,
    )
    supervisor.run(tasks)


def _supervised(folder: RunFolder, job: JobFile, step: LoadedStep, task: int) -> SupervisedTask:
    return SupervisedTask(folder, job, task, step, log=_log(folder, job, task))


def _log(folder: RunFolder, job: JobFile, task: int) -> Path:
    return folder.log(job.label, job.iteration, job.token, task)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Write the output of this block to a log; also what is printed later if the block raises something unexpected."""
    before = [os.dup(1), os.dup(2)]
    redirect(log)
    yield
    for number, descriptor in enumerate(before, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _pipes_to_parent() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to the parent to other descriptors, where the user's code does not read or write."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, answers


def _answer(answers: BinaryIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()
