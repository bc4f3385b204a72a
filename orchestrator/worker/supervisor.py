"""Let processes evaluate tasks, and end those that hang.

The supervisor has loaded the step. For each task it forks a process (`orchestrator.worker.evaluator`), and another one
for the rest of the task when that has died or was ended. It runs the one task of a SLURM job, and the tasks of a worker
of the pool on this machine.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.errors import DataError
from orchestrator.handoff.counts import Counts, together
from orchestrator.host import adopt_orphans, children, oom_kills, rss_in_mb
from orchestrator.worker.ending import flush_files
from orchestrator.worker.evaluator import Answer, Inherited, evaluate_in_this_process
from orchestrator.worker.processes import (
    NO_SPACE,
    TRACKERS_PATIENCE,
    die_by,
    how_it_died,
    how_it_ended,
    kill_children,
    kill_group,
    why_full,
)
from orchestrator.worker.running import Key
from orchestrator.worker.stopping import Others, stop_if_needed
from orchestrator.worker.task import SupervisedTask, key_of

__all__ = ["Supervisor"]

POLL = 0.2
"""Seconds between two polls of the processes, in case one dies without closing its pipe."""

CLOSED_POLL = 0.005
"""The same after it has closed its pipe."""

PATIENCE = 1.0
"""Seconds after SIGTERM until it is passed to the processes that still evaluate: SLURM sends it to all of them."""


class _Process:
    """A process that evaluates a task, and what is known of it."""

    def __init__(self, task: SupervisedTask, pid: int, answers: int, offset: int) -> None:
        self.task, self.pid, self.answers, self.offset = task, pid, answers, offset
        self.unread = b""
        self.is_closed = False
        self.n_done = 0
        self.counts = Counts()
        self.last: Answer | None = None
        self.look_at = time.monotonic() + (task.job.timeout or 0.0)
        self.late: Key | None = None
        self.late_after = 0.0
        self.has_sigterm = False
        self.oom_kills = oom_kills()


class Supervisor:
    """Supervises the evaluation of tasks.

    Parameters
    ----------
    n_workers : int
        Number of processes that evaluate at the same time.
    on_done : callable
        Called with the number of experiments that have a new result.
    on_failed : callable
        Called with the number of a task that can't be completed, and the reason.
    ends_at_once : bool
        Whether SIGTERM ends everything at once. Otherwise the processes that evaluate may end by themselves, which get
        the signal, too.
    others : Others, optional
        The other tasks of the same job, which other processes evaluate.
    """

    def __init__(
        self,
        n_workers: int,
        on_done: Callable[[int], None],
        on_failed: Callable[[int, str], None],
        *,
        ends_at_once: bool,
        others: Others | None = None,
    ) -> None:
        self._n_workers = n_workers
        self._on_done = on_done
        self._on_failed = on_failed
        self._ends_at_once = ends_at_once
        self._others = others
        self._tasks: list[SupervisedTask] = []
        self._n_failed = 0
        self._selector = selectors.DefaultSelector()
        self._processes: dict[int, _Process] = {}
        self._waiting: deque[SupervisedTask] = deque()
        self._handlers: dict[int, Any] = {}
        self._parent = os.getppid()
        self._not_ours: set[int] = set()
        self._pass_sigterm_at: float | None = None

    def run(self, tasks: Mapping[int, Callable[[], SupervisedTask]]) -> None:
        """Evaluate tasks.

        Parameters
        ----------
        tasks : mapping of int to callable
            Tasks by number. Each is called when a process is free for it; with a `DataError` its task has failed.
        """
        adopt_orphans()
        self._not_ours = set(children())
        self._inherited = Inherited()
        coming = iter(tasks.items())
        with self._signals_handled():
            try:
                while self._start_some(coming) or self._processes:
                    self._poll()
                    if self._must_stop():
                        self._stop(coming)
            finally:
                self._kill_all()
                self._selector.close()
                # What is started later, such as the tail of a job, is not to become a child.
                adopt_orphans(False)

    # --- begin and end of a process --------------------------------------------------------------

    def _start_some(self, coming: Iterator[tuple[int, Callable[[], SupervisedTask]]]) -> bool:
        """Start processes for tasks until all are busy, and return whether there is anything to wait for."""
        while self._pass_sigterm_at is None and len(self._processes) < self._n_workers:
            task = self._waiting.popleft() if self._waiting else self._next(coming)
            if task is None:
                break
            if task.left:
                self._fork(task)
            else:
                self._complete(task)
        if self._pass_sigterm_at is not None and not self._processes:
            die_by(signal.SIGTERM)
        return bool(self._processes)

    def _next(self, coming: Iterator[tuple[int, Callable[[], SupervisedTask]]]) -> SupervisedTask | None:
        for number, make in coming:
            try:
                task = make()
            except DataError as error:
                self._on_failed(number, error.message)
                continue
            except OSError as error:
                self._on_failed(number, why_full(error))
                continue
            self._tasks.append(task)
            self._on_done(task.n_done)
            return task
        return None

    def _fork(self, task: SupervisedTask) -> None:
        out, into = os.pipe()
        offset = task.results.stat().st_size if task.results.exists() else 0
        worker = os.getpid()
        flush_files()
        with warnings.catch_warnings():
            # The study may have started threads when it was imported. They are not in the new process.
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            os.close(out)
            evaluate_in_this_process(task, into, worker, self._handlers, self._inherited)
        os.close(into)
        with suppress(OSError):  # it has ended already, or has done that itself
            os.setpgid(pid, pid)
        os.set_blocking(out, False)
        process = self._processes[pid] = _Process(task, pid, out, offset)
        self._selector.register(out, selectors.EVENT_READ, process)

    def _poll(self) -> None:
        """Wait until something happens, and handle it."""
        for key, _ in self._selector.select(self._time_to_wait()):
            self._read(key.data)
        now = time.monotonic()
        for process in list(self._processes.values()):
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.task.add_usage(usage.ru_utime + usage.ru_stime, rss_in_mb(usage.ru_maxrss))
                self._handle_end(process, status)
            elif process.task.job.timeout is not None and now >= process.look_at:
                self._kill_if_late(process, process.task.job.timeout, now)
            elif self._pass_sigterm_at is not None and now >= self._pass_sigterm_at and not process.has_sigterm:
                # Once: a handler of the user's may take its time to save what it has.
                process.has_sigterm = True
                os.kill(process.pid, signal.SIGTERM)

    def _time_to_wait(self) -> float:
        times = [POLL]
        for process in self._processes.values():
            if process.is_closed:
                times.append(CLOSED_POLL)
            if process.task.job.timeout is not None:
                times.append(process.look_at - time.monotonic())
        return max(0.0, min(times))

    def _read(self, process: _Process) -> bool:
        """Read messages, and return whether there may be more."""
        try:
            content = os.read(process.answers, 65536)
        except BlockingIOError:
            return False
        if not content:
            # Its end follows, unless the user's code has closed the pipe.
            self._selector.unregister(process.answers)
            process.is_closed = True
            return False
        *lines, process.unread = (process.unread + content).split(b"\n")
        for line in lines:
            message: Answer = json.loads(line)
            if "done" in message:
                failed = message["n_failed"]
                process.counts = Counts(message["done"] - failed, failed, message["cause"])
                self._report(process, message["done"])
            else:
                process.last = message
        return True

    def _report(self, process: _Process, n: int) -> None:
        if n != process.n_done:
            self._on_done(n - process.n_done)
            process.n_done = n

    def _kill_if_late(self, process: _Process, timeout: float, now: float) -> None:
        running = process.task.running.now()
        if running is None or now - running[1] < timeout:
            process.look_at = timeout + (now if running is None else running[1])
            return
        # The end of the process is handled when it has come; its result may still be written before.
        process.look_at, process.late, process.late_after = now + POLL, running[0], now - running[1]
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    def _handle_end(self, process: _Process, status: int) -> None:
        while not process.is_closed and self._read(process):
            pass
        self._close(process)
        kill_children(self._not_ours | self._processes.keys(), patience=TRACKERS_PATIENCE)
        kill_group(process.pid)
        if self._pass_sigterm_at is not None:
            return
        task, before = process.task, process.task.n_done
        try:
            reason = self._record(process, os.waitstatus_to_exitcode(status))
        except OSError as error:
            reason = task.why_full(error)
        self._on_done(task.n_done - before - process.n_done)
        if reason is not None:
            task.running.close()
            self._on_failed(task.number, reason)
        elif task.left:
            self._waiting.appendleft(task)
        else:
            self._complete(task)

    def _complete(self, task: SupervisedTask) -> None:
        try:
            task.complete()
        except OSError as error:
            reason = task.why_full(error)
            task.running.close()
            self._on_failed(task.number, reason)

    def _close(self, process: _Process) -> None:
        if not process.is_closed:
            # A process that it has left behind has the pipe, too.
            self._selector.unregister(process.answers)
        os.close(process.answers)
        del self._processes[process.pid]

    def _record(self, process: _Process, code: int) -> str | None:
        """Record what a process has evaluated; return why its task can't be completed, or None."""
        task, last = process.task, process.last
        if last is not None and "raised" not in last:
            task.said.update(last["said"])
            task.add_done(last["n_units"], last["n_finished"], last["failures"])
            return None
        before = task.n_done
        running = task.recover(process.offset)
        if last is not None and last["is_full"]:
            task.running.clear()  # the experiment is not to blame
            return f"{NO_SPACE} of {task.results.parent}"
        if running is None:
            return None if task.n_done > before and (last is None or task.left) else f"its worker {how_it_ended(code)}"
        if last is not None:
            task.cut(running, "crashed", f"its process failed: {last['raised']}")
        elif process.late is not None:
            # Its end may have come before the signal. Then the experiment that the signal has hit is evaluated again.
            if process.late in map(key_of, running):
                text = f"it ran longer than the timeout of {task.job.timeout:g} s"
                task.fail(running, "timeout", text, process.late_after)
        else:
            task.cut(running, *how_it_died(code, process.oom_kills))
        return None

    # --- too many failed experiments -------------------------------------------------------------

    def _must_stop(self) -> bool:
        """Whether the batch stops before all its experiments are evaluated."""
        if self._pass_sigterm_at is not None or not self._tasks:
            return False
        job = self._tasks[0].job
        if job.stop_after is None and job.stop_if_first_fail is None:
            return False
        if self._others is not None and self._others.have_stopped():
            return True
        counts = together([*(task.counts for task in self._tasks), *(each.counts for each in self._processes.values())])
        if counts.n_failed == self._n_failed:
            return False
        self._n_failed = counts.n_failed
        return stop_if_needed(job, counts, self._others)

    def _stop(self, coming: Iterator[tuple[int, Callable[[], SupervisedTask]]]) -> None:
        """End what is evaluated, and write the receipts of all tasks that are left, with what they have evaluated."""
        left = list(self._waiting)
        for process in list(self._processes.values()):
            kill_group(process.pid)
            with suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            self._close(process)
            process.task.recover(process.offset)
            left.append(process.task)
        self._waiting.clear()
        kill_children(self._not_ours)
        while (task := left.pop() if left else self._next(coming)) is not None:
            if task.left:
                task.stop()
            else:
                task.complete()

    # --- end of everything -----------------------------------------------------------------------

    def _kill_all(self) -> None:
        for process in list(self._processes.values()):
            kill_group(process.pid)
        kill_children(self._not_ours)

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Where a study ignores SIGCHLD, the kernel would not say how a process has ended.
        for number, handler in ((signal.SIGTERM, self._handle_sigterm), (signal.SIGCHLD, signal.SIG_DFL)):
            before = signal.signal(number, handler)
            self._handlers[number] = signal.SIG_DFL if before is None else before
        try:
            yield
        finally:
            for handled, before in self._handlers.items():
                signal.signal(handled, before)

    def _handle_sigterm(self, number: int, frame: object) -> None:
        if self._ends_at_once or os.getppid() != self._parent:
            self._kill_all()
            die_by(number)
        self._pass_sigterm_at = time.monotonic() + PATIENCE
