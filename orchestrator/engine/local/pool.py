"""A pool of worker processes on this machine, each of them the program that a task of a SLURM array is.

The workers are started by exec, not by fork or by importing the user's `__main__` again: a script without a main guard
is not run twice, and no lock or GPU handle of the parent is inherited. A worker that dies takes down its own task only.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.handoff.jobfile import JobFile
from orchestrator.machine.states import FailureKind

__all__ = ["Pool"]

TICK = 0.2
"""Seconds after which a wait looks whether it should stop."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    task: int | None = None
    heard: bytes = b""
    done: int = 0
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)


class Pool:
    """Runs the tasks of one batch.

    Parameters
    ----------
    job : JobFile
        The batch; its file is written.
    tasks : iterable of int
        Tasks of the manifest.
    n_workers : int
        Processes at once.
    on_done : callable
        Told how many more experiments have a result.

    Attributes
    ----------
    failed : dict of int to (kind, reason)
        Tasks whose worker died.
    """

    def __init__(self, job: JobFile, tasks: Iterable[int], n_workers: int, on_done: Callable[[int], None]) -> None:
        self.failed: dict[int, tuple[str, str]] = {}
        self._job = job
        self._waiting = deque(tasks)
        self._n_workers = n_workers
        self._on_done = on_done
        self._selector = selectors.DefaultSelector()
        self._workers: set[int] = set()

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Run all tasks, or as many as are begun when `should_stop` says so."""
        try:
            for _ in range(min(self._n_workers, len(self._waiting))):
                self._start()
            while self._workers and not should_stop():
                for key, _ in self._selector.select(TICK):
                    self._hear(key.data)
        finally:
            self.kill()

    def kill(self) -> None:
        """End all workers now. Results that they have written stay."""
        for key in list(self._selector.get_map().values()):
            worker: _Worker = key.data
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGKILL)
            self._reap(worker)

    def _start(self) -> None:
        # -P: a file in the current folder must not pass for a module of ours.
        command = [sys.executable, "-P", "-m", "orchestrator.worker", "serve"]
        command += [self._job.workspace, self._job.run_key, self._job.token]
        pinned = dict.fromkeys(THREAD_VARIABLES, str(max(1, self._job.threads)))
        # What this process can import, a worker can import, too.
        paths = {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **paths, **pinned},
            # A Ctrl-C in the terminal is for the parent, which decides.
            process_group=0,
        )
        worker = _Worker(process)
        self._workers.add(process.pid)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._give(worker)

    def _give(self, worker: _Worker) -> None:
        stdin = worker.process.stdin
        assert stdin is not None
        worker.task, worker.done = (self._waiting.popleft(), 0) if self._waiting else (None, 0)
        with contextlib.suppress(BrokenPipeError):
            if worker.task is None:
                stdin.close()
            else:
                stdin.write(b"%d\n" % worker.task)
                stdin.flush()

    def _hear(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        heard = worker.process.stdout.read()
        if heard is None:
            return
        if not heard:
            self._ended(worker)
            return
        *lines, worker.heard = (worker.heard + heard).split(b"\n")
        for line in filter(None, lines):
            self._told(worker, json.loads(line))

    def _told(self, worker: _Worker, told: dict[str, int]) -> None:
        if "done" in told:
            self._on_done(told["done"] - worker.done)
            worker.done = told["done"]
        if "receipt" in told:
            self._give(worker)

    def _ended(self, worker: _Worker) -> None:
        code = self._reap(worker)
        if worker.task is not None:
            self.failed[worker.task] = (FailureKind.INFRASTRUCTURE, _why(code))
        if self._waiting:
            self._start()

    def _reap(self, worker: _Worker) -> int:
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        self._workers.discard(worker.process.pid)
        with contextlib.suppress(BrokenPipeError):
            if worker.process.stdin is not None:
                worker.process.stdin.close()
        worker.process.stdout.close()
        return worker.process.wait()


def _why(code: int) -> str:
    if code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker ended with exit code {code}; its log says why"
