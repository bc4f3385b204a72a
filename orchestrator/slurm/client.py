"""Talk to SLURM: the only module that starts its programs.

Each question is one call, whatever the number of jobs. A program that is missing, fails or doesn't end in time has not
answered: `SchedulerUnreachable`, and nothing may be concluded.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.errors import SchedulerUnreachable
from orchestrator.machine.answers import Answer, RefusedForNow, Unanswered
from orchestrator.slurm.answers import is_out_of_reach, judge, words_of
from orchestrator.slurm.parse import (
    FIELD,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    Line,
    config_values,
    sacct_lines,
    squeue_lines,
)
from orchestrator.slurm.variables import for_query, for_submission, where_slurm_is

__all__ = ["Client", "Config"]

SECONDS_TO_SUBMIT = 300.0  # sbatch itself tries again for two minutes when the queue is full
SECONDS_TO_ASK = 60.0
IDS_PER_CALL = 500
PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")
HINT = "Nothing was changed. Try again when it answers; `squeue --me` shows whether it does."


class Config(NamedTuple):
    """What we need to know of a cluster.

    Attributes
    ----------
    max_array_size : int
        Its largest array index is one less.
    has_accounting : bool
        Whether sacct can be asked.
    """

    max_array_size: int
    has_accounting: bool


class Client:
    """SLURM's programs as functions.

    Parameters
    ----------
    environment : mapping, optional
        Their environment, before what could change their answers is taken out; default: this process's own.
    submitter : mapping, optional
        The environment of sbatch, and so of the jobs; default: the same.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, submitter: Mapping[str, str] | None = None
    ) -> None:
        self._given = environment
        self._submitter = submitter

    def is_missing(self) -> str | None:
        """Name the first of sbatch, squeue, scancel and scontrol that is not on PATH; None if all are."""
        import shutil  # it loads compression, and only who submits asks

        path = self._environment.get("PATH")
        return next((program for program in PROGRAMS if shutil.which(program, path=path) is None), None)

    def sbatch(self, arguments: Sequence[str], taken: Iterable[str]) -> Answer:
        """Submit a job.

        Parameters
        ----------
        arguments : sequence of str
            Options, the script and its arguments; `--parsable` is added.
        taken : iterable of str
            Names of the options that are set, there or in the script, such as `time`. sbatch prefers the environment
            to what is in the script, so the variables of these are taken out of it.
        """
        argv, here = ["sbatch", "--parsable", *arguments], self._environment
        # Where SLURM is, is what this process was told.
        submitter = here if self._submitter is None else {**self._submitter, **where_slurm_is(here)}
        environment = for_submission(submitter, taken)
        try:
            done = _started(argv, environment, SECONDS_TO_SUBMIT)
        except OSError as error:
            return RefusedForNow(_missing(argv, error))
        except subprocess.TimeoutExpired as error:
            return Unanswered(_silent(argv, error))
        return judge(done.returncode, done.stdout, done.stderr)

    def squeue(self) -> list[Line]:
        """List the user's own jobs in all partitions and states; those that ended are forgotten after minutes.

        Raises
        ------
        SchedulerUnreachable
        """
        text = self._ask(["squeue", "--all", "--states=all", f"--user={os.getuid()}", f"--format={SQUEUE_FORMAT}"])
        try:
            return squeue_lines(text)
        except ValueError as error:
            raise SchedulerUnreachable(f"SLURM's answer can't be read: {error}.", HINT) from error

    def sacct(self, job_ids: Sequence[str], since: float | None) -> list[Line]:
        """Ask the accounting database.

        Parameters
        ----------
        job_ids : sequence of str
        since : float or None
            Epoch seconds. If given, all jobs of the user from then on are listed, whatever the ids: for a job whose id
            isn't known.

        Raises
        ------
        SchedulerUnreachable
        """
        if since is None:
            if not job_ids:
                return []
            chosen = [f"--jobs={','.join(map(_checked, job_ids))}"]
        else:
            # An hour more than asked, since local time may have been set back in between.
            start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 3600))
            chosen = [f"--user={os.getuid()}", f"--starttime={start}"]
        form = [f"--delimiter={FIELD}", f"--format={','.join(SACCT_FIELDS)}"]
        text = self._ask(["sacct", "--allocations", "--parsable2", *form, *chosen])
        try:
            return sacct_lines(text)
        except ValueError as error:
            raise SchedulerUnreachable(f"SLURM's answer can't be read: {error}.", HINT) from error

    def scancel(self, job_ids: Sequence[str], *, only_waiting: bool = False) -> None:
        """End jobs. Those that are over or unknown are left alone.

        Parameters
        ----------
        job_ids : sequence of str
        only_waiting : bool, default False
            Leave those alone that run, too.

        Raises
        ------
        SchedulerUnreachable
        """
        ids = [_checked(job_id) for job_id in job_ids]
        options = ["--state=PENDING"] if only_waiting else []
        for i in range(0, len(ids), IDS_PER_CALL):
            done = self._run(
                ["scancel", *options, *ids[i : i + IDS_PER_CALL]], for_query(self._environment), SECONDS_TO_ASK
            )
            harmless = re.compile(r"already (completing|finished)|invalid job id", re.IGNORECASE)
            words = [line for line in words_of(done.stderr).splitlines() if not harmless.search(line)]
            if done.returncode != 0 and words:
                raise SchedulerUnreachable(f"scancel failed: {'; '.join(words)}", HINT)

    def repoint(self, job_id: str, after: str) -> bool:
        """Let a waiting job wait for another one instead.

        Parameters
        ----------
        job_id : str
        after : str
            The id of the job to wait for, or several with colons in between.

        Returns
        -------
        bool
            False if it doesn't wait any more, or SLURM would not do it.

        Raises
        ------
        SchedulerUnreachable
        """
        afterany = "afterany:" + ":".join(map(_checked, after.split(":")))
        argv = ["scontrol", "update", f"JobId={_checked(job_id)}", f"Dependency={afterany}"]
        done = self._run(argv, for_query(self._environment), SECONDS_TO_ASK)
        words = words_of(done.stderr, done.stdout)
        if done.returncode != 0 and is_out_of_reach(words):
            raise SchedulerUnreachable(f"scontrol failed: {words}", HINT)
        return done.returncode == 0

    def config(self) -> Config:
        """Ask how the cluster is set up.

        Raises
        ------
        SchedulerUnreachable
        """
        values = config_values(self._ask(["scontrol", "show", "config"]))
        try:
            max_array_size, storage = int(values["MaxArraySize"]), values["AccountingStorageType"]
        except (KeyError, ValueError) as error:
            raise SchedulerUnreachable(f"SLURM's configuration can't be read: {error}.", HINT) from error
        return Config(max_array_size, storage not in ("", "(null)", "accounting_storage/none"))

    @property
    def _environment(self) -> Mapping[str, str]:
        return os.environ if self._given is None else self._given

    def _ask(self, argv: Sequence[str]) -> str:
        """Give what a program printed. One that complains has not answered, even if it ends with 0, as squeue may."""
        done = self._run(argv, for_query(self._environment), SECONDS_TO_ASK)
        if done.returncode != 0 or re.search(r"\b(error|fatal):", done.stderr):
            words = words_of(done.stderr, done.stdout) or f"it said nothing and ended with {done.returncode}"
            raise SchedulerUnreachable(f"{argv[0]} failed: {words}", HINT)
        return done.stdout

    def _run(
        self, argv: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        try:
            return _started(argv, environment, seconds)
        except OSError as error:
            raise SchedulerUnreachable(
                _missing(argv, error),
                "Type it on a login node of the cluster, or load the module that puts SLURM's programs on PATH.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise SchedulerUnreachable(_silent(argv, error), HINT) from error


def _started(argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def _missing(argv: Sequence[str], error: OSError) -> str:
    return f"{argv[0]} can't be started on this machine: {error.strerror}."


def _silent(argv: Sequence[str], error: subprocess.TimeoutExpired) -> str:
    return f"{argv[0]} did not end within {error.timeout:.0f} s."


def _checked(job_id: str) -> str:
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job_id):
        raise ValueError(f"{job_id!r} is no job id")
    return job_id
