"""The process that evaluates the experiments of a task: a fork of the worker that has loaded the step.

It evaluates one after the other, so that a small experiment costs no process of its own. What it inherits from the
worker is undone first. It ends without the end of the interpreter, because that would wait for threads and processes
that an experiment has left behind.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from orchestrator.handoff.counts import together
from orchestrator.host import WATCH, adopt_orphans, count_threads, die_with_parent
from orchestrator.worker.capture import log_position, redirect
from orchestrator.worker.ending import complete_files, remember_files
from orchestrator.worker.experiments import SHORT, evaluated_lines, open_results, write_line
from orchestrator.worker.log_lines import log_lines
from orchestrator.worker.processes import is_full_disk, left_children
from orchestrator.worker.receipt_counts import ReceiptCounts
from orchestrator.worker.receipt_writer import describe_exception
from orchestrator.worker.stopping import must_stop
from orchestrator.worker.surroundings import say_once
from orchestrator.worker.task import SupervisedTask

__all__ = ["Answer", "Inherited", "run_exit_functions", "evaluate_in_this_process", "evaluate_left"]

REPORT_EVERY = 0.1
"""Seconds between two reports of progress."""

EXIT_WAIT = 1.0
"""Seconds that exit functions have when an experiment has left threads or processes behind."""

Answer = dict[str, Any]
Handlers = Mapping[int, Any]


class Inherited:
    """What a fork of this process shares with it, and must not: states of random number generators, and open files.

    Later forks of this process are cheaper, because the memory of what exists now is not written by the search for
    garbage.
    """

    def __init__(self) -> None:
        from orchestrator.worker.openmp import end_openmp_threads
        from orchestrator.worker.random_numbers import unseeded_generators

        end_openmp_threads()
        import threading

        this = threading.current_thread()
        self._threads = [t.name for t in threading.enumerate() if t is not this and t.name != WATCH]
        self._generators = unseeded_generators()
        remember_files()
        gc.freeze()

    def undo(self, said: set[str]) -> None:
        """Separate this process, a fork, from the others, and say in the log what it lacks, unless that was said."""
        from orchestrator.worker.random_numbers import draw_own_numbers

        draw_own_numbers(self._generators)
        if self._threads:
            names = ", ".join(sorted(self._threads))
            text = f"the study has started threads when it was imported ({names}). They do not run in the process "
            text += "that evaluates: start them in the function that uses them."
            say_once(said, "threads", text)


def evaluate_in_this_process(
    task: SupervisedTask, answers: int, worker: int, handlers: Handlers, inherited: Inherited
) -> NoReturn:
    """Evaluate what is left of a task, in this process, which was forked for that; then end it.

    Parameters
    ----------
    task : SupervisedTask
        The task.
    answers : int
        Descriptor of the pipe to the worker, to which lines of JSON are written: `{"done": number of experiments}`, and
        last the counts, or `{"raised": text, "is_full": whether the disk is full}` if something else than an experiment
        failed.
    worker : int
        The worker.
    handlers : mapping of int to handler
        The signal handlers that the user's code shall find.
    inherited : Inherited
        What the worker had when it was forked.
    """
    code = 1
    try:
        _begin(task, worker, handlers)
        inherited.undo(task.said)
        last = evaluate_left(task, answers)
        run_exit_functions(is_alone=count_threads() == 1 and not last["left"])
        _answer(answers, last)
        code = 0
    except BaseException as error:
        from traceback import print_exc  # Few tasks need it.

        with suppress(Exception):  # the log can't be written
            print_exc()
        with suppress(OSError):
            described = describe_exception(error)
            raised = f"{described['type']}: {described['message']}"
            _answer(answers, {"raised": raised, "is_full": is_full_disk(error)})
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _begin(task: SupervisedTask, worker: int, handlers: Handlers) -> None:
    die_with_parent(worker)
    adopt_orphans()
    os.setpgid(0, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    atexit._clear()
    gc.freeze()  # Garbage is not searched for, and open files neither, among the experiments of the task.
    if task.log is not None:
        redirect(task.log)


def evaluate_left(task: SupervisedTask, answers: int | None = None) -> Answer:
    """Evaluate what is left of a task, and write the results.

    Parameters
    ----------
    task : SupervisedTask
        The task.
    answers : int, optional
        As in `evaluate_in_this_process`; by default no progress is reported.

    Returns
    -------
    dict
        `n_units`, `n_finished` and `failures`: what was evaluated; `left`: names of the processes that the last
        experiment has left behind; `said`: what was said in the log.
    """
    counts, n_units, left, reported_at = ReceiptCounts(), 0, list[str](), time.monotonic()
    job, before, stop_after = task.job, task.counts, task.job.stop_after
    with open_results(task.results, job) as writer, log_lines(job.log_level), log_position() as position:
        # A Ctrl-C does not reach this process: a KeyboardInterrupt is the experiment's own.
        for lines in evaluated_lines(
            task.folder, job, task.step, task.left, position, begins=task.running.begin, said=task.said, ends=()
        ):
            for line in lines:
                counts.add(write_line(writer, line))
            task.running.count(before.n_finished + counts.n_finished, before.n_failed + counts.n_failed)
            n_units += 1
            if lines[0]["seconds"] > SHORT and (left := left_children()):
                names = ", ".join(sorted(set(left)))
                text = f"experiment {lines[0]['row']} left processes behind ({names}), which were ended."
                say_once(task.said, "left processes", text)
                break
            # The other tasks may have experiments that finished: only the supervisor knows whether these are the first.
            may_stop = counts.n_failed > 0 and must_stop(job, together([before, counts.short]))
            if answers is not None and (may_stop or time.monotonic() - reported_at >= REPORT_EVERY):
                reported_at = time.monotonic()
                _answer(answers, {"done": counts.n, "n_failed": counts.n_failed, "cause": counts.short.cause})
            if stop_after is not None and before.n_failed + counts.n_failed >= stop_after:
                break
    task.running.clear()
    return {
        "n_units": n_units,
        "n_finished": counts.n_finished,
        "failures": counts.failures,
        "left": left,
        "said": sorted(task.said),
    }


def run_exit_functions(*, is_alone: bool) -> None:
    """Do what the end of the interpreter would do, without waiting long for what was left behind."""
    if is_alone:
        atexit._run_exitfuncs()
    else:
        from threading import Thread

        # They may wait for what was left behind. That of a pool of processes removes its files.
        exits = Thread(target=atexit._run_exitfuncs, daemon=True)
        exits.start()
        exits.join(EXIT_WAIT)
    complete_files()


def _answer(answers: int, value: Answer) -> None:
    content = json.dumps(value).encode() + b"\n"
    while content:
        content = content[os.write(answers, content) :]
