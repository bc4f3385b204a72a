"""A process of the local pool: task numbers come in, one line when a task is done goes out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import BinaryIO

from orchestrator.definition.bundle import Bundle
from orchestrator.handoff.jobfile import read_jobfile
from orchestrator.worker.capture import redirect
from orchestrator.worker.execute import run_task
from orchestrator.workspace import RunFolder

__all__ = ["serve"]

TELL_EVERY = 0.1
"""Seconds between two reports of progress."""


def serve(workspace: Path, key: str, token: str) -> None:
    """Run tasks of one job until no more come.

    Parameters
    ----------
    workspace : Path
    key : str
        Of the run.
    token : str
        Of the job.
    """
    tasks, answers = _own_ends()
    folder = RunFolder(workspace, key)
    job = read_jobfile(folder.job(token).file)
    step = None
    for number in iter(tasks.readline, b""):
        task = int(number)
        redirect(folder.log(job.label, job.iteration, token, task))
        # Loaded once there is a log that can tell why it failed.
        step = step or Bundle(folder.bundle(job.bundle_digest)).load_step(job.path)
        progress = _Progress(answers, task)
        run_task(folder, job, task, step, progress=progress.evaluated)
        progress.tell()
        _answer(answers, {"receipt": task})


class _Progress:
    def __init__(self, answers: BinaryIO, task: int) -> None:
        self._answers = answers
        self._task = task
        self._done = 0
        self._told = time.monotonic()

    def evaluated(self, n: int) -> None:
        self._done += n
        if time.monotonic() - self._told >= TELL_EVERY:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        _answer(self._answers, {"task": self._task, "done": self._done})


def _own_ends() -> tuple[BinaryIO, BinaryIO]:
    """Take the two ends to the parent away from where the user's code could read or write them."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return tasks, answers


def _answer(answers: BinaryIO, value: dict[str, int]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()
