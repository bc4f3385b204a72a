"""A pool of worker processes on this machine; each runs the same program as a task of a SLURM array.

The workers are started by exec, not by fork and not by importing the user's `__main__` again: a script without a main
guard is not run twice, and no lock or GPU handle of the parent is inherited. If a worker dies, only its task fails.

`orchestrator.engine.local.run` chooses the number of workers.
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

from orchestrator.handoff.jobfile import JobFile
from orchestrator.machine.states import FailureKind

__all__ = ["Pool"]

STOP_POLL = 0.2
"""Seconds between two checks whether the pool should stop."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    task: int | None = None
    unread: bytes = b""
    n_evaluated: int = 0
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)


class Pool:
    """Runs the tasks of one batch.

    Parameters
    ----------
    job : JobFile
        The batch. Its file must be written.
    tasks : iterable of int
        Indexes in the manifest.
    n_workers : int
        Number of worker processes.
    on_done : callable
        Called with the number of experiments that have a new result.

    Attributes
    ----------
    failed : dict of int to (kind, reason)
        Tasks whose worker died, with the reason.
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
        """Run all tasks, or stop all workers as soon as `should_stop` returns true."""
        try:
            for _ in range(min(self._n_workers, len(self._waiting))):
                self._start()
            while self._workers and not should_stop():
                for key, _ in self._selector.select(STOP_POLL):
                    self._read(key.data)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill all workers. Their written results stay."""
        for key in list(self._selector.get_map().values()):
            worker: _Worker = key.data
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGKILL)
            self._reap(worker)

    def _start(self) -> None:
        # -P: no file of the current folder is imported in place of a module.
        command = [sys.executable, "-P", "-m", "orchestrator.worker", "serve"]
        command += [self._job.workspace, self._job.run_key, self._job.token]
        pinned = dict.fromkeys(THREAD_VARIABLES, str(max(1, self._job.threads)))
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **pinned},
            # A Ctrl-C in the terminal goes to the parent only, which stops the workers.
            process_group=0,
        )
        worker = _Worker(process)
        self._workers.add(process.pid)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._assign_task(worker)

    def _assign_task(self, worker: _Worker) -> None:
        stdin = worker.process.stdin
        assert stdin is not None
        worker.task, worker.n_evaluated = (self._waiting.popleft(), 0) if self._waiting else (None, 0)
        with contextlib.suppress(BrokenPipeError):
            if worker.task is None:
                stdin.close()
            else:
                stdin.write(b"%d\n" % worker.task)
                stdin.flush()

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        data = worker.process.stdout.read()
        if data is None:
            return
        if not data:
            self._handle_end(worker)
            return
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        for line in filter(None, lines):
            self._handle_message(worker, json.loads(line))

    def _handle_message(self, worker: _Worker, message: dict[str, int]) -> None:
        if "done" in message:
            self._on_done(message["done"] - worker.n_evaluated)
            worker.n_evaluated = message["done"]
        if "receipt" in message:
            self._assign_task(worker)

    def _handle_end(self, worker: _Worker) -> None:
        code = self._reap(worker)
        if worker.task is not None:
            self.failed[worker.task] = (FailureKind.INFRASTRUCTURE, _why_ended(code))
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


def _why_ended(code: int) -> str:
    if code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker ended with exit code {code}; see its log"
