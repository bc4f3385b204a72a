"""How SLURM is asked: the only module that starts its programs.

Each query is one call, independent of the number of jobs. If a program is missing, fails or does not end in time,
`SchedulerUnreachable` is raised: then nothing is known about the jobs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.errors import SchedulerUnreachable
from orchestrator.machine.answers import Answer, RefusedForNow, RefusedHere, Unanswered
from orchestrator.slurm.messages import is_unreachable, judge, messages_of, problems_of_scancel, was_not_asked
from orchestrator.slurm.parse import (
    FIELD,
    MEMORY_FIELDS,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    Line,
    config_values,
    peak_memory,
    sacct_lines,
    squeue_lines,
)
from orchestrator.slurm.variables import cluster_variables, for_query, for_submission

__all__ = ["Client", "SlurmConfig"]

SECONDS_TO_SUBMIT = 300.0  # sbatch itself retries for two minutes when the queue is full
SECONDS_TO_ASK = 60.0
"""Time limit of every other program."""

IDS_PER_CALL = 500
PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")
HINT = "Nothing was changed. Retry when SLURM answers. Check with: squeue --me"


class SlurmConfig(NamedTuple):
    """The configuration of a cluster, as far as it is needed.

    Attributes
    ----------
    max_array_size : int
        Maximum array index + 1.
    has_accounting : bool
        Whether sacct can be used.
    """

    max_array_size: int
    has_accounting: bool


class Client:
    """SLURM's programs as methods.

    Parameters
    ----------
    environment : mapping, optional
        Environment of the programs; default: that of this process. Variables that would change the output of a
        program are removed from it.
    submitter : callable, optional
        Returns the environment of sbatch, and so of the jobs; default, and for None: the same. It is called when a job
        is submitted.
    seconds_to_ask : float, optional
        Time limit of every other program; default: a minute.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        submitter: Callable[[], Mapping[str, str] | None] = lambda: None,
        *,
        seconds_to_ask: float | None = None,
    ) -> None:
        self._seconds_to_ask = seconds_to_ask
        self._given_environment = environment
        self._submitter = submitter

    def missing_program(self) -> str | None:
        """Return the first of sbatch, squeue, scancel and scontrol that is not on PATH; None if all are."""
        import shutil  # its import is slow, and only a submission needs it

        path = self._environment.get("PATH")
        return next((program for program in PROGRAMS if shutil.which(program, path=path) is None), None)

    def sbatch(self, arguments: Sequence[str], options: Iterable[str]) -> Answer:
        """Submit a job.

        Parameters
        ----------
        arguments : sequence of str
            Options, the script and its arguments; `--parsable` is added.
        options : iterable of str
            Names of the options that are set, in the arguments or in the script, such as `time`. sbatch prefers
            environment variables to the options in a script, so the variables of these options are removed.
        """
        argv, here = ["sbatch", "--parsable", *arguments], self._environment
        # The cluster is the one of this process's environment.
        given = self._submitter()
        submitter = here if given is None else {**given, **cluster_variables(here)}
        environment = for_submission(submitter, options)
        try:
            done = _run_program(argv, environment, SECONDS_TO_SUBMIT)
        except (FileNotFoundError, PermissionError) as error:
            return RefusedHere(_not_started(argv, error), is_final=False)
        except OSError as error:
            return RefusedForNow(_not_started(argv, error))
        except subprocess.TimeoutExpired as error:
            return Unanswered(_timed_out(argv, error))
        return judge(done.returncode, done.stdout, done.stderr)

    def squeue(self) -> list[Line]:
        """Return the user's own jobs in all partitions and states. SLURM removes ended jobs after some minutes.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        text = self._ask(["squeue", "--all", "--states=all", f"--user={os.getuid()}", f"--format={SQUEUE_FORMAT}"])
        try:
            return squeue_lines(text)
        except ValueError as error:
            raise SchedulerUnreachable(f"SLURM's answer can't be read: {error}.", HINT) from error

    def sacct(self, job_ids: Sequence[str], since: float | None) -> list[Line]:
        """Return jobs from the accounting database.

        Parameters
        ----------
        job_ids : sequence of str
            Ids of the jobs; ignored if `since` is given.
        since : float or None
            Epoch seconds. If given, all jobs of the user since then are returned: to find a job whose id is not known.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        if since is None:
            if not job_ids:
                return []
            chosen = [f"--jobs={','.join(map(_checked_id, job_ids))}"]
        else:
            # One hour earlier, because local time may have been set back at the end of summer time.
            start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 3600))
            chosen = [f"--user={os.getuid()}", f"--starttime={start}"]
        form = [f"--delimiter={FIELD}", f"--format={','.join(SACCT_FIELDS)}"]
        text = self._ask(["sacct", "--allocations", "--parsable2", *form, *chosen])
        try:
            return sacct_lines(text)
        except ValueError as error:
            raise SchedulerUnreachable(f"SLURM's answer can't be read: {error}.", HINT) from error

    def peak_memory(self, job_ids: Sequence[str]) -> dict[str, float]:
        """Return the peak memory of jobs in MB, by their ids, from the accounting database.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer, or the cluster has no accounting.
        """
        form = ["--parsable2", "--units=K", f"--delimiter={FIELD}", f"--format={','.join(MEMORY_FIELDS)}"]
        found: dict[str, float] = {}
        for i in range(0, len(job_ids), IDS_PER_CALL):
            jobs = ",".join(map(_checked_id, job_ids[i : i + IDS_PER_CALL]))
            text = self._ask(["sacct", *form, f"--jobs={jobs}"])
            try:
                found |= peak_memory(text)
            except ValueError as error:
                raise SchedulerUnreachable(f"SLURM's answer can't be read: {error}.", HINT) from error
        return found

    def scancel(self, job_ids: Sequence[str], *, only_waiting: bool = False) -> None:
        """Cancel jobs. Ended and unknown jobs are ignored.

        Parameters
        ----------
        job_ids : sequence of str
            Ids of the jobs.
        only_waiting : bool, default False
            Whether running jobs are ignored, too.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        ids = [_checked_id(job_id) for job_id in job_ids]
        options = ["--state=PENDING"] if only_waiting else []
        for i in range(0, len(ids), IDS_PER_CALL):
            done = self._run(
                ["scancel", *options, *ids[i : i + IDS_PER_CALL]], for_query(self._environment), SECONDS_TO_ASK
            )
            problems = problems_of_scancel(messages_of(done.stderr))
            if done.returncode != 0 and problems:
                raise SchedulerUnreachable(f"scancel failed: {'; '.join(problems)}", HINT)

    def set_dependency(self, job_id: str, after: str) -> bool:
        """Replace the dependency of a waiting job: it starts after the end of other jobs.

        Parameters
        ----------
        job_id : str
            Id of the waiting job.
        after : str
            Id of the job that must end first; several are separated by colons.

        Returns
        -------
        bool
            False if the job does not wait any more, or SLURM refused the change.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        afterany = "afterany:" + ":".join(map(_checked_id, after.split(":")))
        argv = ["scontrol", "update", f"JobId={_checked_id(job_id)}", f"Dependency={afterany}"]
        done = self._run(argv, for_query(self._environment), SECONDS_TO_ASK)
        message = messages_of(done.stderr, done.stdout)
        if done.returncode != 0 and is_unreachable(message):
            raise SchedulerUnreachable(f"scontrol failed: {message}", HINT)
        return done.returncode == 0

    def hold(self, job_id: str, *, is_held: bool) -> None:
        """Let a waiting job, or the waiting tasks of an array, not start; or release it.

        A job that does not wait any more is ignored.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        # Not `hold`: for an administrator that would need another administrator to release it.
        argv = ["scontrol", "uhold" if is_held else "release", _checked_id(job_id)]
        done = self._run(argv, for_query(self._environment), SECONDS_TO_ASK)
        message = messages_of(done.stderr, done.stdout)
        if done.returncode != 0 and is_unreachable(message):
            raise SchedulerUnreachable(f"scontrol failed: {message}", HINT)

    def config(self) -> SlurmConfig:
        """Return the configuration of the cluster.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        values = config_values(self._ask(["scontrol", "show", "config"]))
        try:
            max_array_size, storage = int(values["MaxArraySize"]), values["AccountingStorageType"]
        except (KeyError, ValueError) as error:
            raise SchedulerUnreachable(f"SLURM's configuration can't be read: {error}.", HINT) from error
        return SlurmConfig(max_array_size, storage not in ("", "(null)", "accounting_storage/none"))

    @property
    def _environment(self) -> Mapping[str, str]:
        return os.environ if self._given_environment is None else self._given_environment

    def _ask(self, argv: Sequence[str]) -> str:
        """Return what a program printed. What it complains about beside a complete answer is only shown."""
        done = self._run(argv, for_query(self._environment), self._seconds_to_ask or SECONDS_TO_ASK)
        if done.returncode != 0 or was_not_asked(done.stderr):
            message = messages_of(done.stderr, done.stdout) or f"no message, exit code {done.returncode}"
            raise SchedulerUnreachable(f"{argv[0]} failed: {message}", HINT)
        return done.stdout

    def _run(
        self, argv: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        try:
            return _run_program(argv, environment, seconds)
        except OSError as error:
            raise SchedulerUnreachable(
                _not_started(argv, error),
                "Type the command on a login node of the cluster. Some clusters need first: module load slurm",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise SchedulerUnreachable(_timed_out(argv, error), HINT) from error


def _run_program(
    argv: Sequence[str], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if done.returncode == 0:
        _show(done.stderr)
    return done


_shown: set[str] = set()
"""What this process has shown of the messages of SLURM's programs."""


def _show(messages: str) -> None:
    """Print what a program says beside its answer: each line once, on a terminal or in the log of the process."""
    for line in messages.splitlines():
        if line.strip() and line not in _shown and sys.stderr is not None:
            _shown.add(line)
            print(line, file=sys.stderr, flush=True)


def _not_started(argv: Sequence[str], error: OSError) -> str:
    return f"{argv[0]} can't be started on this machine: {error.strerror}."


def _timed_out(argv: Sequence[str], error: subprocess.TimeoutExpired) -> str:
    return f"{argv[0]} did not end within {error.timeout:.0f} s."


def _checked_id(job_id: str) -> str:
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job_id):
        raise ValueError(f"{job_id!r} is not a valid job id")
    return job_id
