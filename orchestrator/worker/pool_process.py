"""A process of the local pool: it reads task numbers, and writes a line of JSON for each task and for progress."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import BinaryIO

from orchestrator.definition.bundle import Bundle
from orchestrator.errors import StudyError
from orchestrator.handoff.jobfile import read_jobfile
from orchestrator.worker.capture import redirect
from orchestrator.worker.execute import run_task
from orchestrator.worker.receipts import fail_receipt
from orchestrator.workspace import RunFolder

__all__ = ["serve"]

REPORT_EVERY = 0.1
"""Seconds between two reports of progress."""


def serve(workspace: Path, key: str, token: str) -> None:
    """Run tasks of one job until the input ends.

    Parameters
    ----------
    workspace : Path
        Root folder of the workspace.
    key : str
        The run's key.
    token : str
        The job's token.
    """
    tasks, answers = _pipes_to_parent()
    folder = RunFolder(workspace, key)
    job = read_jobfile(folder.job(token).file)
    step = None
    for number in iter(tasks.readline, b""):
        task = int(number)
        redirect(folder.log(job.label, job.iteration, token, task))
        progress = _Progress(answers, task)
        try:
            # Loaded after the log is open, so that an error is written to the log.
            step = step or Bundle(folder.bundle(job.bundle_digest)).load_step(job.path)
        except StudyError as error:
            fail_receipt(folder, job, task, 0, error)
        else:
            run_task(folder, job, task, step, progress=progress.add)
        progress.report()
        _answer(answers, {"receipt": task})


class _Progress:
    def __init__(self, answers: BinaryIO, task: int) -> None:
        self._answers = answers
        self._task = task
        self._done = 0
        self._reported_at = time.monotonic()

    def add(self, n: int) -> None:
        self._done += n
        if time.monotonic() - self._reported_at >= REPORT_EVERY:
            self.report()

    def report(self) -> None:
        self._reported_at = time.monotonic()
        _answer(self._answers, {"task": self._task, "done": self._done})


def _pipes_to_parent() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to the parent to other descriptors, where the user's code does not read or write."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return tasks, answers


def _answer(answers: BinaryIO, value: dict[str, int]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()
