"""The worker processes of a run on this machine; they evaluate the tasks of its parallel steps.

A worker process is started by exec, not by fork and not by importing the user's `__main__` again: a script without a
main guard is not run twice, and no lock or GPU handle of the parent is inherited. It is started once for a run, loads
the study once, and forks a process for each task (`orchestrator.worker.pool_process`).

`orchestrator.engine.local.run` chooses how many tasks are evaluated at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.handoff.jobfile import JobFile, digest_of
from orchestrator.machine.states import FailureKind

__all__ = ["Workers"]

STOP_POLL = 0.2
"""Seconds between two checks whether the workers should stop."""

END_WAIT = 10.0
"""Seconds for which a worker process may take to end all that it has started."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables that libraries read once: here they are set to `cpus_per_task`, on a cluster by the script of a job."""

Failed = dict[int, tuple[str, str]]


class Workers:
    """The worker processes of a run: one for each code and number of threads, because libraries read that once."""

    def __init__(self) -> None:
        # A step in this process may change them.
        self._cwd, self._environment = _current_folder(), dict(os.environ)
        self._processes: dict[tuple[str, int], subprocess.Popen[bytes]] = {}

    def run(
        self,
        job: JobFile,
        tasks: Sequence[int],
        n_workers: int,
        on_done: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> Failed:
        """Evaluate the tasks of one batch.

        Parameters
        ----------
        job : JobFile
            The batch. Its file must be written.
        tasks : sequence of int
            Indexes in the manifest.
        n_workers : int
            Number of tasks that are evaluated at the same time.
        on_done : callable
            Called with the number of experiments that have a new result.
        should_stop : callable
            When it returns true, everything is ended. Written results stay.

        Returns
        -------
        dict of int to (kind, reason)
            Tasks that could not be completed.
        """
        if not tasks:
            return {}
        try:
            process = self._process_for(job)
            _send(process, {"token": job.token, "sha256": digest_of(job), "tasks": list(tasks), "n_workers": n_workers})
            failed = _Answers(process, on_done).read(should_stop)
        except BaseException:
            self.close()
            raise
        if should_stop():
            self.close()
        elif process.poll() is not None:
            # What it has completed has a receipt, which counts more than this.
            reason = _why_ended(process.returncode)
            failed = dict.fromkeys(tasks, (FailureKind.INFRASTRUCTURE, reason)) | failed
        return failed

    def close(self) -> None:
        """End all worker processes, with all that they have started."""
        processes, self._processes = list(self._processes.values()), {}
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(END_WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close_pipes(process)

    def _process_for(self, job: JobFile) -> subprocess.Popen[bytes]:
        key = (job.bundle_digest, job.threads)
        process = self._processes.get(key)
        if process is None or process.poll() is not None:
            if process is not None:
                _close_pipes(process)
            process = self._processes[key] = self._start(job)
        return process

    def _start(self, job: JobFile) -> subprocess.Popen[bytes]:
        # -P: no file of the current folder is imported in place of a module.
        options = [*subprocess._args_from_interpreter_flags(), "-P"]  # type: ignore[attr-defined] # as multiprocessing
        command = [sys.executable, *options, "-m", "orchestrator.worker", "serve", job.workspace, job.run_key]
        pinned = dict.fromkeys(THREAD_VARIABLES, str(max(1, job.threads)))
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._cwd,
            env={**self._environment, **pinned},
            # A Ctrl-C in the terminal goes to the parent only, which stops the workers.
            process_group=0,
        )


class _Answers:
    """Reads what a worker process answers to one request."""

    def __init__(self, process: subprocess.Popen[bytes], on_done: Callable[[int], None]) -> None:
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()
        self._process = process
        self._on_done = on_done
        self._failed: Failed = {}
        self._has_ended = False

    def read(self, should_stop: Callable[[], bool]) -> Failed:
        """Read until the batch has ended, the process has ended, or it should stop."""
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while not self._has_ended and not should_stop():
                if not selector.select(STOP_POLL):
                    continue
                content = os.read(self._descriptor, 65536)
                if not content:
                    self._process.wait()
                    break
                *lines, unread = (unread + content).split(b"\n")
                for line in lines:
                    self._handle(json.loads(line))
        return self._failed

    def _handle(self, message: dict[str, Any]) -> None:
        if "done" in message:
            self._on_done(message["done"])
        elif "failed" in message:
            self._failed[message["failed"]] = (FailureKind.INFRASTRUCTURE, message["reason"])
        else:
            self._has_ended = True


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()


def _send(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    # If it has ended, its answers end, too.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None


def _why_ended(code: int) -> str:
    if code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker ended with exit code {code}"
